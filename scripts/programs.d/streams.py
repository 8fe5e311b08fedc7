"""A WebSocket and a gRPC server that answer with what they are told."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import websockets


async def echo(socket):
    async for message in socket:
        await socket.send(f"answered {message}")


class Echo(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == "/programs.Echo/One":
            return grpc.unary_unary_rpc_method_handler(lambda request, _: b"answered " + request)
        if call.method == "/programs.Echo/All":
            return grpc.stream_stream_rpc_method_handler(lambda requests, _: (b"answered " + request for request in requests))
        return None


async def main():
    server = grpc.server(ThreadPoolExecutor(8), handlers=[Echo()])
    server.add_insecure_port("127.0.0.1:9002")
    server.start()
    async with websockets.serve(echo, "127.0.0.1", 9001):
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
