import { createRemoteJWKSet, errors, jwtVerify } from 'jose';
import { createServer, type Authenticate } from 'lmserv';

const { JWKS_URL = '', JWT_ISSUER = '' } = process.env;
const keys = createRemoteJWKSet(new URL(JWKS_URL));

/** Who a bearer token was issued to; undefined, which is 401, when it is missing, forged, expired or for others. */
const authenticate: Authenticate = async (request) => {
  const token = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
  if (token === undefined) return undefined;
  try {
    const { payload } = await jwtVerify<{ tenants?: string[]; admin?: boolean }>(token, keys, {
      issuer: JWT_ISSUER,
      audience: 'lmserv',
      algorithms: ['RS256', 'ES256'],
      requiredClaims: ['sub', 'exp'],
    });
    const name = payload.sub!;
    return { name, admin: payload.admin === true, tenants: [name, ...(payload.tenants ?? [])] };
  } catch (error) {
    if (error instanceof errors.JOSEError) return undefined;
    throw error;
  }
};

// LMServ's own key is not used, so none is set; without one, HOST must be set.
const server = createServer({ authenticate, apiKey: '', host: process.env.HOST ?? '0.0.0.0' });

process.once('SIGTERM', () => void server.stop());
await server.start();
