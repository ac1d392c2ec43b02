// Chat.java URL: sends each line of its input, and prints each text, with java.net.http.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.util.Scanner;
import java.util.concurrent.CompletionStage;

class Chat implements WebSocket.Listener {
    private final StringBuilder text = new StringBuilder();

    public static void main(String[] words) {
        var room = HttpClient.newHttpClient().newWebSocketBuilder()
            .buildAsync(URI.create(words[0]), new Chat()).join();
        var lines = new Scanner(System.in, "UTF-8");
        while (lines.hasNextLine()) {
            room.sendText(lines.nextLine(), true).join();
        }
    }

    @Override
    public CompletionStage<?> onText(WebSocket room, CharSequence part, boolean isLast) {
        text.append(part);
        if (isLast) {
            System.out.println(text);
            text.setLength(0);
        }
        room.request(1);
        return null;
    }
}
