// The calls of an LFI, made with Java's HttpClient as an application would. Prints what came back as JSON.
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.StringJoiner;

public class HttpClientCalls {
    static final HttpClient CLIENT = HttpClient.newHttpClient();
    static final StringJoiner RESULTS = new StringJoiner(",", "{", "}");

    static void call(String base, String name, String method, String path, String type, BodyPublisher body) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(base + path)).method(method, body);
        if (type != null) {
            request.header("Content-Type", type);
        }
        HttpResponse<byte[]> answer = CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(answer.body());
        RESULTS.add(String.format(
            "\"%s\":{\"status\":%d,\"location\":%s,\"id\":%s,\"length\":%d,\"sha256\":\"%s\"}",
            name, answer.statusCode(), quoted(answer, "location"), quoted(answer, "x-fapi-interaction-id"),
            answer.body().length, HexFormat.of().formatHex(hash)));
    }

    static String quoted(HttpResponse<?> answer, String header) {
        return answer.headers().firstValue(header).map(value -> '"' + value + '"').orElse("null");
    }

    public static void main(String[] arguments) throws Exception {
        String base = arguments[0];
        byte[] big = "0123456789abcdef".repeat(10 * 1024 * 1024 / 16).getBytes();
        call(base, "get", "GET", "/cm/consents/1?a=%2Fb&c=d%20e&a=+", null, BodyPublishers.noBody());
        call(base, "auth", "GET",
            "/hh/auth?client_id=tpp&request=a%3D%3D&redirect_uri=https%3A%2F%2Ftpp.example%2Fcb", null, BodyPublishers.noBody());
        call(base, "form", "POST", "/hh/auth/3f1c9d2e/doConfirm", "application/x-www-form-urlencoded",
            BodyPublishers.ofString("a=1&b=x+y"));
        call(base, "patch", "PATCH", "/cm/consents/1", "application/json", BodyPublishers.ofByteArray(big));
        call(base, "chunked", "PATCH", "/cm/consents/2", null,
            BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(big)));
        call(base, "small-chunked", "PATCH", "/cm/consents/3", null,
            BodyPublishers.ofInputStream(() -> new ByteArrayInputStream("{} \n".getBytes())));
        call(base, "missing", "GET", "/cm/nothing", null, BodyPublishers.noBody());
        System.out.println(RESULTS);
    }
}
