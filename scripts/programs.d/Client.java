import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Clients of Java's own libraries: `old` or `new`, and an address. */
class Client {
    public static void main(String[] words) throws Exception {
        URI uri = URI.create(words[1]);
        if (words[0].equals("old")) {
            HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection();
            try (InputStream body = connection.getInputStream()) {
                System.out.println(connection.getResponseCode() + " " + new String(body.readAllBytes()));
            }
            return;
        }
        HttpRequest request = HttpRequest.newBuilder(uri).build();
        HttpResponse<String> response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(response.version() + " " + response.statusCode() + " " + response.body());
    }
}
