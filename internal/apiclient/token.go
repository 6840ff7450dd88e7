package apiclient

import (
	"context"
	"strings"
	"time"
)

// TokenSource gives out the access token and is told how it fared.
type TokenSource interface {
	// Token returns the token to use now. An error is best an *Error; any other
	// counts as KindUnavailable.
	Token(ctx context.Context) (string, error)
	// Accepted notes that the API took token.
	Accepted(token string)
	// Rejected notes that the API answered token with 401. It reports whether
	// the call is worth another attempt with what Token returns next: yes for
	// one that was good before and has expired, no for one that never was.
	Rejected(token string) bool
	// Close ends what the source does in the background.
	Close()
}

// FixedToken returns a source that knows the one token only. Space around it
// is dropped.
func FixedToken(token string) TokenSource { return &fixedToken{strings.TrimSpace(token)} }

type fixedToken struct{ value string }

func (f *fixedToken) Token(context.Context) (string, error) {
	if !usable(f.value) {
		return "", &Error{Kind: KindUnauthorized, Err: errBadToken}
	}
	return f.value, nil
}
func (f *fixedToken) Accepted(string)      {}
func (f *fixedToken) Rejected(string) bool { return false } // there is no other
func (f *fixedToken) Close()               {}
func (f *fixedToken) String() string       { return "fixed token" }

// usable reports whether a token can stand in a header.
func usable(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return token != ""
}

// Token is an access token and its life.
type Token struct {
	Value   string
	Issued  time.Time
	Expires time.Time // the zero time = not known; it then lives until a 401
}

// String tells all but the value.
func (t Token) String() string {
	if t.Expires.IsZero() {
		return "token without expiry"
	}
	return "token until " + t.Expires.Format(time.RFC3339)
}

const (
	renewShare = 0.9             // of a token's life, after which it is renewed,
	renewAhead = 5 * time.Minute // or this long before it ends, if that is later
)

// alive reports whether t is a token that has not expired.
func (t Token) alive(now time.Time) bool {
	return t.Value != "" && (t.Expires.IsZero() || now.Before(t.Expires))
}

// due reports whether t should be renewed, while it still serves.
func (t Token) due(now time.Time) bool {
	if t.Expires.IsZero() {
		return false
	}
	life := t.Expires.Sub(t.Issued)
	rest := min(life-time.Duration(renewShare*float64(life)), renewAhead)
	return !now.Before(t.Expires.Add(-rest))
}

// Store shares one token among all processes of an app. Its own failures are
// its own to report: a source whose store fails goes on by itself.
type Store interface {
	// Load returns the shared token, the zero Token if there is none.
	Load(ctx context.Context) (Token, error)
	// Save shares a token that was just fetched.
	Save(ctx context.Context, t Token) error
	// Acquire gives leave to fetch a token, to one caller in all processes
	// within the 2 s that lie between two fetches.
	Acquire(ctx context.Context) (bool, error)
}
