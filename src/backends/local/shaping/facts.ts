/** What a model's chat template accepts, as it showed when it was asked. What is false is adapted to. */
export interface TemplateFacts {
  /** The definitions of tools. Without them, the other facts are about conversations without tools. */
  readonly tools: boolean;
  /** Calls of tools, and their results. Without them, the other facts are about conversations without calls. */
  readonly toolTurns: boolean;
  /** A system message at the beginning. */
  readonly system: boolean;
  /** Several of them. */
  readonly repeatedSystem: boolean;
  /** A system message and nothing else. */
  readonly systemAlone: boolean;
  /** A system message also where the last turn is a result. */
  readonly lastingSystem: boolean;
  /** A system message after other turns. */
  readonly laterSystem: boolean;
  /** Several parts of text in a message. */
  readonly textParts: boolean;
  /** Turns of the user in a row. */
  readonly repeatedUser: boolean;
  /** Turns of the assistant in a row. */
  readonly repeatedAssistant: boolean;
  /** A conversation that the assistant begins. */
  readonly assistantFirst: boolean;
  /** The assistant's text beside its reasoning; some templates drop the text. */
  readonly textBesideReasoning: boolean;
  /** Several calls in one turn. */
  readonly parallelCalls: boolean;
  /** A text beside the calls of a turn. */
  readonly textBesideCalls: boolean;
  /** A turn of the user after a result. */
  readonly userAfterResult: boolean;
  /** A result whose call is not in the conversation. */
  readonly resultWithoutCall: boolean;
  /** Ids of calls in any form, not only nine characters. */
  readonly longCallIds: boolean;
  /** Arguments that are not a JSON object. */
  readonly plainArguments: boolean;
  /** Objects among the arguments. */
  readonly nestedArguments: boolean;
}

/** What llama.cpp's handler of a template does. What is not enforced is enforced without the handler. */
export interface HandlerFacts {
  /** The schema of a reply. */
  readonly schema: boolean;
  /** A client's grammar. */
  readonly grammar: boolean;
  /** That a tool is called. */
  readonly calls: boolean;
  /** It knows reasoning and tells it from the reply. */
  readonly reasoning: boolean;
}

/** Accepts only what every template does: texts of the user and the assistant in turn. */
export const STRICTEST: TemplateFacts = {
  tools: false,
  toolTurns: false,
  system: false,
  repeatedSystem: false,
  systemAlone: false,
  lastingSystem: false,
  laterSystem: false,
  textParts: false,
  repeatedUser: false,
  repeatedAssistant: false,
  assistantFirst: false,
  textBesideReasoning: false,
  parallelCalls: false,
  textBesideCalls: false,
  userAfterResult: false,
  resultWithoutCall: false,
  longCallIds: false,
  plainArguments: false,
  nestedArguments: false,
};
