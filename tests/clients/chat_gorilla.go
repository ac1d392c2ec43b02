// chat_gorilla URL: sends each line of its input, and prints each text, with gorilla/websocket.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"

	"github.com/gorilla/websocket"
)

func main() {
	room, _, err := websocket.DefaultDialer.Dial(os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if err := room.WriteMessage(websocket.TextMessage, lines.Bytes()); err != nil {
				log.Fatal(err)
			}
		}
	}()
	for {
		_, text, err := room.ReadMessage()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(text))
	}
}
