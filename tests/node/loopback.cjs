// Loaded into emulate before it starts: it listens on loopback only, on a free port that it tells on its standard
// output, and ends with the process that started it, however that ends.
"use strict";
const net = require("node:net");
const parent = process.ppid;
const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function listenOnLoopback() {
  this.keepAliveTimeout = 0; // whoever keeps a connection may: one closed at the wrong moment looks like a fault
  this.once("listening", () => process.stdout.write(`listening ${this.address().port}\n`));
  return listen.call(this, { host: "127.0.0.1", port: 0 });
};

process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0)).resume();
setInterval(() => process.ppid === parent || process.exit(0), 500).unref(); // a fork may hold our standard input
