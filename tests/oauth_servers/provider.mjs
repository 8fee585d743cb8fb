// A certified OpenID provider, as strict as it comes: PKCE, `iss` in answers, rotating refresh tokens, revocation.
// node provider.mjs PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI
import { Provider } from "oidc-provider";

const [port, clientId, clientSecret, redirectUri] = process.argv.slice(2);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: clientId,
      client_secret: clientSecret,
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code", "refresh_token"],
    },
  ],
  features: { revocation: { enabled: true } },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  scopes: ["openid", "offline_access", "profile"],
  claims: { profile: ["name", "picture", "profile"] },
  ttl: { AccessToken: 600, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 600, IdToken: 600 },
  cookies: { keys: ["only for tests"] },
  findAccount: (_context, sub) => ({
    accountId: sub,
    claims: () => ({ sub, name: `Ada ${sub}`, picture: "https://images.example/ada.png", profile: "javascript:alert(1)" }),
  }),
});
provider.listen(Number(port), "127.0.0.1");
