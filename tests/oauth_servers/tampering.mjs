// An authorization server that does whatever a test tells it to: POST /control replaces its misdeeds, GET /control says
// what it was asked. It also plays the APIs of the platforms.
// node tampering.mjs PORT
import http from "node:http";
import { OAuth2Server } from "oauth2-mock-server";

const port = Number(process.argv[2]);
const url = `http://127.0.0.1:${port}`;
const server = new OAuth2Server();
server.issuer.url = url;
await server.issuer.keys.generate("RS256");
const service = server.service;

let misdeeds = {};
let asked = [];
let issued = [];

service.addRoute("POST", "/control", (request, response) => {
  misdeeds = request.body;
  asked = [];
  issued = [];
  response.end();
});
service.addRoute("GET", "/control", (_request, response) => response.end(JSON.stringify({ asked, issued })));
service.addRoute("GET", "/api/channels", (_request, response) =>
  response.end(
    JSON.stringify(
      misdeeds.channels ?? {
        items: [
          {
            id: misdeeds.external_id ?? "UC-ada",
            snippet: { title: "Ada's channel", thumbnails: { default: { url: "https://images.example/ada.png" } } },
            contentDetails: { relatedPlaylists: { uploads: "UU-ada" } },
          },
        ],
      },
    ),
  ),
);
service.addRoute("GET", "/api/playlistItems", (_request, response) =>
  response.end(
    JSON.stringify({
      items: [1, 2, 3].map((number) => ({
        snippet: {
          title: `Video ${number}`,
          publishedAt: `2026-01-0${number}T12:00:00Z`,
          resourceId: { videoId: `video-${number}` },
        },
      })),
    }),
  ),
);
const lasting = (_request, response) => {
  const answer = { access_token: `lasting-${crypto.randomUUID()}`, token_type: "bearer", expires_in: 5184000 };
  issued.push(answer);
  response.end(JSON.stringify(answer));
};
service.addRoute("GET", "/api/access_token", lasting);
service.addRoute("GET", "/api/refresh_access_token", lasting);
service.addRoute("GET", "/api/me", (_request, response) =>
  response.end(JSON.stringify({ user_id: misdeeds.external_id ?? "1784", username: "ada", name: "Ada" })),
);
service.addRoute("GET", "/api/me/media", (_request, response) =>
  response.end(
    JSON.stringify({
      data: [
        { id: "1", caption: "Tea", permalink: "https://www.instagram.com/p/1/", timestamp: "2026-01-31T12:00:00+0000" },
        { id: "2", caption: "Trap", permalink: "javascript:alert(1)", timestamp: "2026-01-30T12:00:00+0000" },
      ],
    }),
  ),
);

service.on("beforeWellKnownOpenIdConfiguration", (answer) => {
  answer.body.token_endpoint_auth_methods_supported = ["client_secret_basic"];
  Object.assign(answer.body, misdeeds.description ?? {});
});
service.on("beforeTokenSigning", (token) => {
  token.payload.jti = crypto.randomUUID();
  if (token.payload.aud !== undefined) {
    token.payload.sub = misdeeds.external_id ?? token.payload.sub;
    Object.assign(token.payload, misdeeds.claims ?? {});
    for (const name of misdeeds.without_claims ?? []) delete token.payload[name];
  }
});
service.on("beforeUserinfo", (answer) => {
  answer.body = { sub: misdeeds.external_id ?? "johndoe", name: "John", ...misdeeds.userinfo };
});
service.on("beforeAuthorizeRedirect", ({ url: redirect }) => {
  for (const [name, value] of Object.entries(misdeeds.redirect ?? {})) redirect.searchParams.set(name, value);
});
service.on("beforeResponse", (answer, request) => {
  answer.body.scope = misdeeds.scope ?? request.body.scope;
  Object.assign(answer.body, misdeeds.tokens ?? {});
  for (const name of misdeeds.without ?? []) delete answer.body[name];
  issued.push(answer.body);
  if (misdeeds.lose > 0) {
    misdeeds.lose -= 1;
    request.socket.destroy();
  }
});

http
  .createServer(async (request, response) => {
    const path = new URL(request.url, url).pathname;
    if (path === "/control") return service.requestHandler(request, response);
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    asked.push({ method: request.method, url: request.url, body, authorization: request.headers.authorization ?? "" });
    const refusal = (misdeeds.refuse ?? []).find((one) => one.path === path && one.times > 0);
    if (refusal) {
      refusal.times -= 1;
      if (refusal.hang) return undefined;
      response.writeHead(refusal.status, { "Content-Type": "application/json", ...refusal.headers });
      return response.end(refusal.size ? "x".repeat(refusal.size) : JSON.stringify(refusal.body ?? {}));
    }
    // The service reads the request itself, so it gets it anew.
    const { Readable } = await import("node:stream");
    const again = Object.assign(Readable.from(chunks), {
      method: request.method,
      url: request.url,
      headers: request.headers,
      socket: request.socket,
    });
    return service.requestHandler(again, response);
  })
  .listen(port, "127.0.0.1");
