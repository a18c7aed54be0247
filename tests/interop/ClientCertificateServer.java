// A server of Java's own TLS, which asks for the client's certificate, verifies it, and answers with what it saw: the
// protocol and the certificate's SHA-256. Arguments: a folder with server.pem, server-key.pem and clients.pem, and the
// protocol. It prints the port of 127.0.0.1 where it listens.
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsExchange;
import com.sun.net.httpserver.HttpsParameters;
import com.sun.net.httpserver.HttpsServer;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.HexFormat;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSession;
import javax.net.ssl.TrustManagerFactory;

public class ClientCertificateServer {
    private static final char[] NO_PASSWORD = new char[0];

    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        String protocol = arguments[1];

        KeyStore own = KeyStore.getInstance("PKCS12");
        own.load(null, null);
        own.setKeyEntry("server", key(folder.resolve("server-key.pem")), NO_PASSWORD,
            certificates(folder.resolve("server.pem")));
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, NO_PASSWORD);

        KeyStore clients = KeyStore.getInstance("PKCS12");
        clients.load(null, null);
        for (Certificate certificate : certificates(folder.resolve("clients.pem"))) {
            clients.setCertificateEntry("ca-" + clients.size(), certificate);
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(clients);

        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        HttpsServer server = HttpsServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setHttpsConfigurator(new HttpsConfigurator(context) {
            @Override
            public void configure(HttpsParameters parameters) {
                SSLParameters settings = context.getDefaultSSLParameters();
                settings.setNeedClientAuth(true);
                settings.setProtocols(new String[] {protocol});
                parameters.setSSLParameters(settings);
            }
        });
        server.createContext("/", exchange -> {
            SSLSession session = ((HttpsExchange) exchange).getSSLSession();
            String seen;
            try {
                byte[] certificate = session.getPeerCertificates()[0].getEncoded();
                byte[] hash = MessageDigest.getInstance("SHA-256").digest(certificate);
                seen = session.getProtocol() + " " + HexFormat.of().formatHex(hash) + "\n";
            } catch (Exception error) {
                seen = error + "\n";
            }
            byte[] answer = seen.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
        System.out.println(server.getAddress().getPort());
    }

    private static Certificate[] certificates(Path file) throws Exception {
        try (InputStream text = Files.newInputStream(file)) {
            return CertificateFactory.getInstance("X.509").generateCertificates(text).toArray(new Certificate[0]);
        }
    }

    private static PrivateKey key(Path file) throws Exception {
        String body = Files.readString(file).replaceAll("-----[A-Z ]+-----|\\s", "");
        return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(body)));
    }
}
