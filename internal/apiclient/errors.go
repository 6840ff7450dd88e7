package apiclient

import (
	"cmp"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind says what an answer, or the lack of one, means for a call. The kinds are
// a closed set and serve as metric labels.
type Kind string

// The kinds. "Not carried out" means that no target of the call got anything.
const (
	// KindRejected: the request is wrong; never again as it is (400).
	KindRejected Kind = "rejected"
	// KindTooMany: more targets than a call may have; Error.Limit is the limit (400).
	KindTooMany Kind = "too_many"
	// KindTooLarge: the body is too large, fewer targets may do (413). A msg and
	// ext that are too large by themselves (400, error_code 14007) are KindRejected.
	KindTooLarge Kind = "too_large"
	// KindNotAllowed: the app may not do this (403).
	KindNotAllowed Kind = "not_allowed"
	// KindUnsupported: wrong URL or method in disguise, and every other 4xx.
	KindUnsupported Kind = "unsupported"
	// KindThrottled: a quota is used up for the moment; Error.Scope says which (429, 403).
	KindThrottled Kind = "throttled"
	// KindUnauthorized: the credentials are refused, or a token that is fixed or
	// was just fetched and never accepted (401): the settings are wrong.
	KindUnauthorized Kind = "unauthorized"
	// KindUnknownApp: wrong organisation, app or base URL (404, any 3xx).
	KindUnknownApp Kind = "unknown_app"
	// KindPlan: the plan is used up, trying again soon cannot help (429 resource_limited).
	KindPlan Kind = "plan"
	// KindNoToken: no token is to be had at the moment that the API takes, though
	// the settings are right: renewed tokens died one after another, the token
	// endpoint throttles, or the wait was cut off. Not carried out.
	KindNoToken Kind = "no_token"
	// KindUnavailable: certainly not carried out: no connection, nothing
	// written, or 503; or the token endpoint is away.
	KindUnavailable Kind = "unavailable"
	// KindUnknown: it may or may not have been carried out.
	KindUnknown Kind = "unknown"
)

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{
		KindRejected, KindTooMany, KindTooLarge, KindNotAllowed, KindUnsupported, KindThrottled,
		KindUnauthorized, KindUnknownApp, KindPlan, KindNoToken, KindUnavailable, KindUnknown,
	}
}

// Scope says which quota throttled a call.
type Scope string

// The scopes (CHAT-API: "Limits").
const (
	// ScopeCalls is the quota of calls per second: 429 reach_limit.
	ScopeCalls Scope = "calls"
	// ScopeTargets is the quota of messages, each target counting as one: 403.
	ScopeTargets Scope = "targets"
)

// Error is the one classification of a call that did not end in a readable 200.
// It holds no secret: the token and the client secret are masked where the
// server echoes them.
type Error struct {
	Kind   Kind
	Status int // HTTP status, 0 = no answer
	// Code and Description are the answer's error and error_description; "" =
	// none could be read.
	Code, Description string
	Scope             Scope         // set with KindThrottled only
	RetryAfter        time.Duration // at most 24 h; 0 = none said
	Limit             int           // set with KindTooMany only, at least 1
	Body              string        // at most 1 KiB of the answer
	NotMade           bool          // there was no token for the call, so it was never posted
	Op                string        // what was tried: "upload"; "" = "send"
	Err               error         // what went wrong on this side of the wire; may be nil
}

// Error returns `apiclient: send: 429 reach_limit`, or the kind and the cause
// where there is no status.
func (e *Error) Error() string {
	what := string(e.Kind)
	if e.Status != 0 {
		what = strconv.Itoa(e.Status)
		if name := strings.TrimSpace(e.Code); name != "" {
			what += " " + name
		} else if name := http.StatusText(e.Status); name != "" {
			what += " " + name
		}
	}
	if e.Err != nil {
		what += ": " + e.Err.Error()
	}
	return "apiclient: " + cmp.Or(e.Op, "send") + ": " + what
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// final reports whether the call can never succeed as it is, by words that
// stand in the answer.
func (e *Error) final() bool {
	switch e.Kind {
	case KindRejected, KindTooMany, KindNotAllowed, KindUnsupported:
		return true
	default:
		return false
	}
}

// asError returns err as the *Error in it; any other error comes from a token
// source of another make, so nothing was sent.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: KindNoToken, Err: err}
}

const (
	maxText = 1 << 10 // bytes of the vendor's text that are kept
	maxCode = 64      // its codes are words

	masked = "***"
	// Below this a secret may be part of an ordinary word, and masking it
	// would garble the vendor's code.
	minSecret = 8
)

// A header that was echoed in another encoding, or cut short.
var bearer = regexp.MustCompile(`(?i)(bearer)[ +:]+[A-Za-z0-9._~+/=%\\-]{16,}`)

// mask replaces a secret in a text that came from outside. An empty secret is none.
func mask(text, secret string) string {
	if secret != "" {
		inJSON := string(quote(secret))
		inJSON = inJSON[1 : len(inJSON)-1]
		for _, form := range []string{secret, inJSON, strings.ReplaceAll(inJSON, "/", `\/`)} {
			text = strings.ReplaceAll(text, form, masked)
		}
	}
	return bearer.ReplaceAllString(text, "${1} "+masked)
}

// clean masks the secret in everything that came from outside and cuts it to
// size. It is the last step before an Error leaves the package.
func (e *Error) clean(secret string) {
	if len(secret) >= minSecret {
		e.Code = mask(e.Code, secret)
	}
	e.Code = cut(e.Code, maxCode)
	e.Description = cut(mask(e.Description, secret), maxText)
	e.Body = cut(mask(e.Body, secret), maxText)
}

// cut shortens text to size bytes of valid UTF-8 at most.
func cut(text string, size int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= size {
		return text
	}
	end := size
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
