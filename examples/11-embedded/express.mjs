// An Express application whose users log in with a session cookie. Each sees their own guests, and only some groups.
//
//   npm install express express-session
//   node examples/11-embedded/express.mjs [PORT]

import express from "express";
import session from "express-session";
import { connect } from "virstream";
import { createHandler } from "virstream/server";

const GUESTS = { ann: ["guest-00000", "guest-00001"], ben: ["guest-00002"] };

const sessions = session({ secret: "an example", resave: false, saveUninitialized: false });
const handler = createHandler(await connect("test:///default?domains=10"), {
  prefix: "/vm",
  // A page of another origin than loopback must be listed: origins: ["https://dashboard.example"]
  async authenticate(request) {
    // The upgrade request does not pass through Express.
    await new Promise((resolve) => sessions(request, {}, resolve));
    const user = request.session?.user;
    return user && { name: user, domains: GUESTS[user], groups: ["state", "cpu-total"] };
  },
});

const app = express();
app.use(handler.request);
app.use(sessions);
app.get("/", ({ session }, response) => response.send(`<p>You are ${session.user ?? "not logged in"}.`));
app.post("/login/:user", ({ params: { user }, session }, response) => {
  // A real application checks a password here.
  if (!Object.hasOwn(GUESTS, user)) return response.sendStatus(403);
  session.user = user;
  response.sendStatus(204);
});
app.post("/logout", ({ session }, response) => {
  const { user } = session;
  session.destroy(() => {
    if (user) handler.disconnect(user);
    response.sendStatus(204);
  });
});

const http = app.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${http.address().port}`);
});
http.on("upgrade", handler.upgrade);
