/** A WebSocket whose server is the test. */
export class Socket {
  static all = [];
  sent = [];
  closed = false;

  constructor(url) {
    this.url = url;
    Socket.all.push(this);
  }
  send(text) {
    this.sent.push(text);
  }
  close() {
    this.closed = true;
  }
  /** The actions of the server. */
  accept() {
    this.onopen?.({});
  }
  say(message) {
    this.onmessage?.({ data: typeof message === "string" ? message : JSON.stringify(message) });
  }
  refuse(err) {
    this.say({ usr: "wschat", msg: `not sent: ${err}`, err, tim: "2020-08-11T22:26:58.118678679Z" });
  }
  /** Sends a sent message back with a `tim`; by default the last one. */
  echo(index = this.sent.length - 1) {
    this.say({ ...JSON.parse(this.sent[index]), tim: "2020-08-11T22:26:58.118678679Z" });
  }
  hangUp(code = 1006, reason = "") {
    this.onclose?.({ code, reason });
  }
}
