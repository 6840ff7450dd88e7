package apiclient

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// TokenSource gives out the access token and is told how it fared.
type TokenSource interface {
	// Token returns the token to use now. An error is best an *Error; any other
	// counts as KindNoToken.
	Token(ctx context.Context) (string, error)
	// Accepted notes that the API took token.
	Accepted(token string)
	// Rejected notes that the API answered token with 401. It reports whether
	// to ask Token again, which then has another one or says why not.
	Rejected(token string) bool
	// Close ends what the source does in the background.
	Close()
}

// FixedToken returns a source that knows the one token only. Space around it
// is dropped.
func FixedToken(token string) TokenSource {
	return ReadToken(func() (string, error) { return token, nil })
}

// ReadToken returns a source that reads its token, such as from a file, and
// reads it again whenever the API refuses it: somebody may have put another in
// its place. Space around it is dropped.
func ReadToken(read func() (string, error)) TokenSource { return &readToken{read: read} }

type readToken struct {
	read func() (string, error)

	mu    sync.Mutex
	value string // "" = none could be read yet
}

func (r *readToken) Token(context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.value == "" {
		if err := r.reload(); err != nil {
			return "", &Error{Kind: KindUnauthorized, Err: err}
		}
	}
	return r.value, nil
}

func (r *readToken) Rejected(token string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if token == r.value {
		r.value = ""
		_ = r.reload() // the next Token tells
	}
	return r.value != "" && r.value != token
}

// reload is called with mu held.
func (r *readToken) reload() error {
	text, err := r.read()
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	if text = strings.TrimSpace(text); !usable(text) {
		return errBadToken
	}
	r.value = text
	return nil
}

func (r *readToken) Accepted(string) {}
func (r *readToken) Close()          {}
func (r *readToken) String() string  { return "fixed token" }

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
	Value    string
	Issued   time.Time
	Expires  time.Time // the zero time = not known; it then lives until a 401
	Accepted bool      // by the API, as far as the Store knows that it came from
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

// Store shares one token, and the leave to fetch the next, among all processes
// of an app. Its own failures are its own to report: a source whose store fails
// goes on by itself.
type Store interface {
	// Load returns the shared token, the zero Token if there is none.
	Load(ctx context.Context) (Token, error)
	// Acquire gives this process the leave to fetch for so long; while it has
	// it, no other does. Who has it already gets it for so long from now.
	Acquire(ctx context.Context, d time.Duration) (bool, error)
	// Save shares a token that was just fetched.
	Save(ctx context.Context, t Token) error
	// Accepted notes that the API took the shared token t: Load then says so
	// for some minutes at least.
	Accepted(ctx context.Context, t Token) error
}

// alone is the Store of a process that shares with nobody.
type alone struct{}

func (alone) Load(context.Context) (Token, error)                  { return Token{}, nil }
func (alone) Acquire(context.Context, time.Duration) (bool, error) { return true, nil }
func (alone) Save(context.Context, Token) error                    { return nil }
func (alone) Accepted(context.Context, Token) error                { return nil }
