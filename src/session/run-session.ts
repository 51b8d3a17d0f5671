import type { Identity } from "../auth/identity.ts";
import { ChannelClosed } from "../io/channel.ts";
import type { Entrance, Policy } from "../policy/engine.ts";
import type { Caller, MailDetails, MailFacts } from "../policy/hooks/hook.ts";
import { endsSession, Refused } from "../refusal.ts";
import type { Credential } from "../sasl/credential.ts";
import { clientFacts } from "./client-facts.ts";
import type { Desk, Entry, SignIn, UpstreamLine } from "./protocol.ts";
import { Seat } from "./seat.ts";
import type { Session } from "./session.ts";
import { greetClient } from "./stray-header.ts";

export interface Route {
  readonly backend: string;
  /** The user's name at that backend. */
  readonly login: string;
}

export interface Upstream extends UpstreamLine, AsyncDisposable {
  /** Talks before the login, in the time that connecting has; a fault comes out as Refused("unavailable"). */
  open<T>(talk: () => Promise<T>): Promise<T>;
  /** Signs in, in the time that the backend may take to think; faults as with `open`. */
  converse<T>(talk: () => Promise<T>): Promise<T>;
  /** Says that the relay takes it over: nobody's leaving cuts it any more but the relay's own. */
  settle(): void;
}

/** The rooms behind the protocols, as the story needs them. Made by `app.ts`, frozen; a reload makes new ones. */
export interface Rooms {
  readonly policy: Policy;
  readonly auth: {
    authenticate(
      credential: Credential,
      peer: { address: string; claimed?: boolean; protocol: string },
      signal: AbortSignal,
    ): Promise<Identity>;
    /** Stands for a name with its password, and tells neither; undefined where the password is not known. */
    fingerprint(credential: Credential): string | undefined;
  };
  readonly router: {
    route(identity: Identity, protocol: string): Route;
    /** Where another server's mail for this address goes. */
    routeRecipient(address: string, protocol: string): Route;
  };
  readonly connector: {
    connect(session: Session, route: Route): Promise<Upstream>;
    /** Undefined where the backend takes our word for who it is. */
    signIn(route: Route, credential: Credential, identity: Identity): SignIn | undefined;
  };
  /** Moves bytes both ways until one side ends; says why it ended. */
  readonly relay: (session: Session, upstream: Upstream) => Promise<string>;
  readonly telemetry: Observer;
}

/** Hears what happens to sessions; says nothing to anybody in the story. */
export interface Observer {
  refused(session: Session, refused: Refused): void;
  loggedIn(session: Session): void;
  failed(session: Session, error: unknown): void;
  /** Mail on its way was refused; the session goes on. */
  refusedMail(session: Session, kind: string, detail: string): void;
  /** A backend had a message whole, and took it, refused it, or was not heard of again. */
  delivered(session: Session, accepted: boolean | undefined): void;
  /** A rule in observe mode would have refused something. */
  observed(session: Session, what: string, details: Readonly<Record<string, string>>): void;
  /** Its first bytes were a PROXY header, which nobody there may send; it hears nothing, and ends. */
  strayHeader(session: Session): void;
  closed(session: Session, reason: string): void;
}

/**
 * The life of one session, from the accepted socket to its account record. Never throws: whatever goes wrong
 * in here ends this session and no other.
 */
export async function runSession(session: Session, rooms: Rooms): Promise<void> {
  let reason = "client left";
  try {
    await using seat = new Seat(rooms.policy);
    await seat.take(session);
    if (session.frontend.implicitTls) await session.startTls();
    session.enter("greeted");
    session.startLoginDeadline();
    if (!(await greetClient(session))) {
      rooms.telemetry.strayHeader(session);
      reason = "strayHeader";
      return;
    }
    for (;;) {
      await using entered = await knock(session, rooms, seat);
      const ended = entered.upstream && (await carry(session, entered.upstream, rooms));
      if (ended === AGAIN) {
        session.comeBack();
        continue;
      }
      reason = ended ?? reason;
      if (entered.finished) break;
    }
  } catch (error) {
    reason = await sayWhy(session, rooms, error);
  } finally {
    session.enter("closed");
    session.channel.end();
    rooms.telemetry.closed(session, reason);
  }
}

/** What a protocol's own relay says when the client goes on, but not with this backend. */
const AGAIN = "again";

function carry(session: Session, upstream: Upstream, rooms: Rooms): Promise<string> {
  // Whoever looks on asks before each message; the others are ended, or slowed down, from outside.
  rooms.policy.watch(session, session.protocol.relay === undefined);
  if (!session.protocol.relay) return rooms.relay(session, upstream);
  return session.protocol.relay(session, upstream, makeDesk(session, rooms));
}

function makeDesk(session: Session, rooms: Rooms): Desk {
  return {
    message: () => rooms.policy.message(session.facts),
    recipient: (message) => rooms.policy.recipient(session.facts, () => mailDetails(session, message)),
    content: (message) => rooms.policy.content(session.facts, () => mailDetails(session, message)),
    recipientRefused: () => rooms.policy.recipientRefused(session.facts),
    backendOf: (recipient) => rooms.router.routeRecipient(recipient, session.protocol.name).backend,
    refused: (kind, detail) => rooms.telemetry.refusedMail(session, kind, detail),
    delivered(accepted) {
      rooms.policy.meter(session);
      rooms.telemetry.delivered(session, accepted);
    },
    observed: (what, details) => rooms.telemetry.observed(session, what, details),
  };
}

/** What came of one login: an upstream and the seats that go with it, or nothing. */
interface Entered extends AsyncDisposable {
  readonly upstream?: Upstream;
  readonly finished: boolean;
}

/** One try at the door. It owns the password: when it returns, nothing refers to that any more. */
async function knock(session: Session, rooms: Rooms, seat: Seat): Promise<Entered> {
  const login = await session.protocol.readLogin(session);
  if (!login) return nobody(true);
  if (login.named) {
    session.peer = login.named;
    session.user = undefined;
    await seat.take(session);
    await session.protocol.greet(session);
    return nobody(false);
  }
  await using held = new AsyncDisposableStack();
  try {
    const upstream = await serveLogin(session, login, rooms, held);
    const kept = held.move();
    return { upstream, finished: true, [Symbol.asyncDispose]: () => kept.disposeAsync() };
  } catch (error) {
    if (!(error instanceof Refused) || session.accepted || endsSession(error.refusal)) throw error;
    await held.disposeAsync();
    rooms.telemetry.refused(session, error);
    await session.protocol.refuse(session, error.refusal, login, false);
    session.enter("greeted");
    if (login.credential) session.countError();
    return nobody(false);
  }
}

const nobody = (finished: boolean): Entered => ({ finished, [Symbol.asyncDispose]: async () => {} });

async function serveLogin(
  session: Session,
  login: Entry,
  rooms: Rooms,
  held: AsyncDisposableStack,
): Promise<Upstream> {
  const { protocol } = session;
  session.enter("authenticating");
  session.backend = undefined;
  const { route, signIn, entrance } = login.credential
    ? await letIn(session, login.credential, rooms, held)
    : await takeIn(session, login, rooms);

  session.enter("connecting");
  const upstream = held.use(await rooms.connector.connect(session, route));
  upstream.learned(await upstream.open(() => protocol.openUpstream(upstream)));

  session.enter("signingIn");
  const offers = await upstream.converse(() => protocol.loginUpstream(upstream, signIn, login));

  upstream.settle();
  entrance?.completed();
  session.accepted = true;
  session.outcome = "ok";
  if (login.credential) rooms.telemetry.loggedIn(session);
  await protocol.accept(session, login, offers);
  session.enter("relaying");
  return upstream;
}

/** Where a session goes on, and as whom where somebody signs in there. */
interface Way {
  readonly route: Route;
  readonly signIn?: SignIn | undefined;
  readonly entrance?: Entrance;
}

/** Another server's message begins: whether it may, and where its recipient's mail goes. */
async function takeIn(session: Session, entry: Entry, rooms: Rooms): Promise<Way> {
  const { recipient = "", counted, message } = entry;
  session.enter("routing");
  const route = routeOf(session, recipient, rooms);
  session.backend = route.backend;
  // One whose first recipient came to nothing is the same message with its next.
  const instance = message?.().instance;
  if (!counted && (instance === undefined || instance !== session.counted))
    await rooms.policy.message(session.facts);
  session.counted = instance;
  await rooms.policy.recipient(session.facts, message && (() => mailDetails(session, message)));
  return { route };
}

function routeOf(session: Session, recipient: string, { router, policy }: Rooms): Route {
  try {
    return router.routeRecipient(recipient, session.protocol.name);
  } catch (error) {
    policy.recipientRefused(session.facts);
    throw error;
  }
}

/** Who it is, where he lives, whether he may enter, and how we sign in there for him. */
async function letIn(
  session: Session,
  credential: Credential,
  rooms: Rooms,
  held: AsyncDisposableStack,
): Promise<Way> {
  const { protocol } = session;
  const { ip, claimed = false } = session.facts;
  session.user = credential.authcid;
  session.mechanism = credential.mechanism;
  const fingerprint = rooms.auth.fingerprint(credential);
  const attempt = await rooms.policy.attempt(session.facts, session.signal, fingerprint, () => ({
    caller: callerOf(session),
    password: credential.password,
  }));
  const identity = await attempt.settle(
    rooms.auth.authenticate(credential, { address: ip, claimed, protocol: protocol.name }, session.signal),
  );
  session.user = identity.user;

  session.enter("routing");
  const route = rooms.router.route(identity, protocol.name);
  session.backend = route.backend;
  const entrance = held.use(await rooms.policy.login(session.facts, session.signal));
  return { route, entrance, signIn: rooms.connector.signIn(route, credential, identity) };
}

/** Of whom a hook hears. */
function callerOf(session: Session): Caller {
  const { mechanism } = session;
  return { ...clientFacts(session), ...(mechanism !== undefined && { mechanism }) };
}

const mailDetails = (session: Session, message: () => MailFacts): MailDetails => ({
  caller: callerOf(session),
  mail: message(),
});

/** Ends a session that cannot go on: with its protocol's words where it still listens for them. */
async function sayWhy(session: Session, rooms: Rooms, error: unknown): Promise<string> {
  if (error instanceof ChannelClosed && error.cause instanceof Error)
    return `${error.message}: ${codeOf(error.cause)}`;
  if (error instanceof ChannelClosed || session.channel.closed) return "client left";
  if (!(error instanceof Refused)) {
    rooms.telemetry.failed(session, error);
    return "error";
  }
  rooms.telemetry.refused(session, error);
  const silent = session.accepted || (session.frontend.implicitTls && !session.channel.encrypted);
  if (!silent) await session.protocol.refuse(session, error.refusal, undefined, true).catch(() => {});
  return error.refusal.kind;
}

/** The stable name of a system's or OpenSSL's error, which says the same on every machine. */
function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}
