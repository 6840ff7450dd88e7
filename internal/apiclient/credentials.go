package apiclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// Fetching too often gets an account blocked (CHAT-API: "Token").
	fetchInterval = 2 * time.Second
	// The token endpoint may ask for a longer pause, but for none beyond this.
	longestPause = 10 * time.Minute
	// How often to look whether another process has shared its token.
	storePoll = 100 * time.Millisecond
	// How long one answer of the store may take.
	storeTimeout = 2 * time.Second
	// Until then a token that was never accepted counts as just fetched.
	freshFor = time.Minute
	// How many refused tokens are remembered.
	maxRefused = 16
)

var (
	errBadToken  = errors.New("the token is empty or holds characters that no header can hold")
	errClosed    = errors.New("the token source is closed")
	errStillborn = errors.New("the token had expired when it came")
	errTokenDead = errors.New("a token that was just fetched is refused")
)

// Credentials is a TokenSource that fetches tokens with a client's id and
// secret. All callers of all processes that share a Store share one fetch; from
// the end of one to the next it is 2 s at least, or the time that the token
// endpoint asks for. While the old token serves nobody waits for its renewal.
//
// A token that the API refuses has expired, whatever its expiry says, and is
// replaced: by what another process has shared meanwhile, else by a fresh one.
// Only one that was just fetched, and that the API took from no process at all,
// says that the settings are wrong.
type Credentials struct {
	fetch    func(context.Context) (Token, *Error)
	store    Store
	interval time.Duration // between two fetches
	patience time.Duration // with which to wait for another process's token
	wire     *wire         // what fetch uses; nil in tests

	closing context.Context // ended by Close
	end     context.CancelFunc
	tasks   sync.WaitGroup

	mu       sync.Mutex
	held     held
	refused  []string      // tokens that the API took no more, the last ones
	renewing chan struct{} // closed when the renewal under way is over; nil = none
	tried    time.Time     // when the last renewal was over
	failure  *Error        // why it came to nothing; nil = it did not
	notAgain time.Time     // no fetch before this
}

// held is the token that a process has and what it knows of it.
type held struct {
	Token
	fetched  bool // by this process
	accepted bool // by the API, from this process
	refused  bool // by the API: not to be used again
}

// good reports whether calls can be made with h.
func (h held) good(now time.Time) bool { return h.alive(now) && !h.refused }

// suspect reports whether h, as far as this process knows, tells of wrong
// settings. Only the process that fetched a token judges it: any other cannot
// know how old it was when it got it.
func (h held) suspect(now time.Time) bool {
	return h.fetched && h.refused && !h.accepted && now.Sub(h.Issued) < freshFor
}

// ClientCredentials returns a source for the app's credentials; Close it, or
// the Client that uses it.
func ClientCredentials(c CredentialsConfig) (*Credentials, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("apiclient: %w", err)
	}
	base, _ := appURL(c.BaseURL, c.Org, c.App)
	w, err := newWire(base, 1, c.Timeout)
	if err != nil {
		return nil, err
	}
	if c.Observe != nil {
		w.observe = c.Observe
	}
	fetch := func(ctx context.Context) (Token, *Error) {
		return fetchToken(ctx, w, base.JoinPath("token").String(), c)
	}
	s := newCredentials(fetch, c.Store)
	s.wire, s.patience = w, c.Timeout+3*fetchInterval
	return s, nil
}

func newCredentials(fetch func(context.Context) (Token, *Error), store Store) *Credentials {
	if store == nil {
		store = alone{}
	}
	s := &Credentials{fetch: fetch, store: store, interval: fetchInterval, patience: 3 * fetchInterval}
	s.closing, s.end = context.WithCancel(context.Background())
	return s
}

// Close ends a fetch that is under way; Token then fails.
func (s *Credentials) Close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.tasks.Wait()
	if s.wire != nil {
		s.wire.close()
	}
}

// String keeps the token out of what is printed.
func (s *Credentials) String() string { return "client credentials" }

// Token returns the cached token, or waits for the one fetch that all share.
func (s *Credentials) Token(ctx context.Context) (string, error) {
	for {
		token, ready, e := s.next(time.Now())
		if ready == nil {
			if e != nil {
				return "", e
			}
			return token, nil
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return "", &Error{Kind: KindNoToken, Err: fmt.Errorf("waiting for a token: %w", ctx.Err())}
		}
	}
}

// next returns the token to use, or what to wait for, or why there is neither.
func (s *Credentials) next(now time.Time) (token string, ready <-chan struct{}, e *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	good := s.held.good(now)
	if good && !s.held.due(now) {
		return s.held.Value, nil, nil
	}
	closed := s.closing.Err() != nil
	again := s.tried.Add(s.interval)
	if s.renewing == nil && !closed && (s.failure == nil || !now.Before(again)) {
		s.renewing = make(chan struct{})
		s.tasks.Go(s.renew) // on its own: no caller that goes ends it
	}
	switch {
	case good:
		return s.held.Value, nil, nil
	case s.renewing != nil:
		return "", s.renewing, nil
	case closed:
		return "", nil, &Error{Kind: KindNoToken, Err: errClosed}
	}
	failure := *s.failure
	failure.RetryAfter = max(again.Sub(now), s.notAgain.Sub(now))
	return "", nil, &failure
}

// Accepted notes that the API took token. The process that fetched it is to
// learn of that: its own calls may all be later than the token's death.
func (s *Credentials) Accepted(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token != s.held.Value || s.held.accepted {
		return
	}
	s.held.accepted = true
	if t := s.held.Token; !s.held.fetched && s.closing.Err() == nil {
		s.tasks.Go(func() {
			ctx, cancel := context.WithTimeout(s.closing, storeTimeout)
			defer cancel()
			_ = s.store.Accepted(ctx, t) // else the other takes its settings for wrong, and tries again
		})
	}
}

// Rejected takes token out of use, for good. Token has another one, or knows
// by then whether the settings are wrong.
func (s *Credentials) Rejected(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == s.held.Value {
		s.held.refused = true
	}
	if !slices.Contains(s.refused, token) {
		s.refused = append(s.refused, token)
		s.refused = s.refused[max(0, len(s.refused)-maxRefused):]
	}
	return true
}
