// A client of Go's own library: its address, and what it was answered in.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	response, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	body, err := io.ReadAll(response.Body)
	fmt.Println(response.Proto, response.StatusCode, string(body), err)
}
