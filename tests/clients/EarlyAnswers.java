// Bodies that are refused before they are read, sent with Java's HttpClient. Arguments: base, "path=status ...", sizes.
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

public class EarlyAnswers {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String ask : arguments[1].split(" ")) {
            String path = ask.split("=")[0];
            for (int at = 2; at < arguments.length; at++) {
                byte[] body = new byte[Integer.parseInt(arguments[at])];
                for (String how : new String[] {"fixed", "chunked"}) {
                    BodyPublisher sent = how.equals("fixed")
                        ? BodyPublishers.ofByteArray(body)
                        : BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body));
                    HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + path))
                        .timeout(Duration.ofSeconds(60)).POST(sent).build();
                    int status = client.send(request, BodyHandlers.ofByteArray()).statusCode();
                    System.out.println(path + " " + arguments[at] + " " + how + " " + status);
                }
            }
        }
    }
}
