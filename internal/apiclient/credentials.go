package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// Fetching too often gets an account blocked (CHAT-API: "Token").
	fetchInterval = 2 * time.Second
	// How often to look whether another process has shared its token.
	storePoll = 100 * time.Millisecond
)

var (
	errBadToken  = errors.New("the token is empty or holds characters that no header can hold")
	errClosed    = errors.New("the token source is closed")
	errStillborn = errors.New("the token had expired when it came")
	errTokenDead = errors.New("a token that was just fetched is refused")
)

// CredentialsConfig says where and with what to fetch tokens.
type CredentialsConfig struct {
	BaseURL, Org, App      string // as in Config
	ClientID, ClientSecret string
	Timeout                time.Duration // of one fetch
	// Observe is Config.Observe; it is told of the endpoint "token".
	Observe func(endpoint string, status int, d time.Duration)
	// Store shares the token with other processes; nil = this one is alone.
	Store Store
}

// String tells all but the secret.
func (c CredentialsConfig) String() string {
	return fmt.Sprintf("credentials of %s for %s/%s", c.ClientID, c.Org, c.App)
}

// Validate returns all faults, each a FieldError named by the field.
func (c CredentialsConfig) Validate() error {
	_, faults := appURL(c.BaseURL, c.Org, c.App)
	if c.ClientID == "" {
		faults = append(faults, FieldError{"ClientID", "is required"})
	}
	if c.ClientSecret == "" {
		faults = append(faults, FieldError{"ClientSecret", "is required"})
	}
	if c.Timeout <= 0 {
		faults = append(faults, FieldError{"Timeout", "must be more than 0"})
	}
	return errors.Join(faults...)
}

// Credentials is a TokenSource that fetches tokens with a client's id and
// secret. All callers share one fetch; there is at most one in 2 s, or after
// the time that the token endpoint asks for. While the old token serves nobody
// waits for its renewal.
type Credentials struct {
	fetch func(context.Context) (Token, *Error)
	store Store
	wire  *wire // what fetch uses; nil in tests
	tasks sync.WaitGroup

	mu       sync.Mutex
	token    Token
	fresh    bool          // fetched by this process
	accepted bool          // by the API, since this process has it
	rejected bool          // by the API: to be used no more
	fetching chan struct{} // closed when the fetch under way is over; nil = none
	giveUp   func()        // ends that fetch
	closed   bool
	notAgain time.Time // no fetch before this
	failure  *Error    // why the last try gave no good token; nil = it did
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
	s.wire = w
	return s, nil
}

func newCredentials(fetch func(context.Context) (Token, *Error), store Store) *Credentials {
	return &Credentials{fetch: fetch, store: store, giveUp: func() {}}
}

// Close ends a fetch that is under way; Token then fails.
func (s *Credentials) Close() {
	s.mu.Lock()
	s.closed = true
	s.giveUp()
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
			return "", &Error{Kind: KindUnavailable, Err: fmt.Errorf("waiting for a token: %w", ctx.Err())}
		}
	}
}

// next returns the token to use, or what to wait for, or why there is neither.
func (s *Credentials) next(now time.Time) (token string, ready <-chan struct{}, e *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	good := s.token.alive(now) && !s.rejected
	if good && !s.token.due(now) {
		return s.token.Value, nil, nil
	}
	wait := s.notAgain.Sub(now)
	if s.fetching == nil && !s.closed && (wait <= 0 || s.failure == nil) {
		s.start(wait)
	}
	switch {
	case good:
		return s.token.Value, nil, nil
	case s.fetching != nil:
		return "", s.fetching, nil
	case s.closed:
		return "", nil, &Error{Kind: KindUnavailable, Err: errClosed}
	}
	failure := *s.failure
	failure.RetryAfter = wait
	return "", nil, &failure
}

// start starts the fetch that all share: no caller that goes ends it.
func (s *Credentials) start(wait time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	s.fetching, s.giveUp = make(chan struct{}), cancel
	old := s.token.Value
	s.tasks.Go(func() {
		defer cancel()
		s.renew(ctx, old, wait)
	})
}

// Accepted notes that the API took token.
func (s *Credentials) Accepted(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == s.token.Value {
		s.accepted = true
	}
}

// Rejected takes token out of use. One that was good before has expired, and
// one that another process has fetched may have; but one that this process has
// fetched and that never was good means wrong settings.
func (s *Credentials) Rejected(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token != s.token.Value {
		return true // there is another one by now
	}
	s.rejected = true
	if s.fresh && !s.accepted {
		s.failure = &Error{Kind: KindUnauthorized, Status: http.StatusUnauthorized, Err: errTokenDead}
		return false
	}
	return true
}

// renew puts another token in the place of old, after the wait that lies
// between two fetches.
func (s *Credentials) renew(ctx context.Context, old string, wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
	token, fresh, e := s.obtain(ctx, old)
	if e == nil && !token.alive(time.Now()) {
		e = &Error{Kind: KindUnavailable, Err: errStillborn}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = e
	pause := fetchInterval
	if e != nil {
		pause = max(pause, e.RetryAfter)
	} else {
		s.token, s.fresh, s.accepted, s.rejected = token, fresh, false, false
	}
	if fresh || e != nil {
		s.notAgain = time.Now().Add(pause)
	}
	close(s.fetching)
	s.fetching = nil
}

// obtain returns a token other than old: the one that another process shares,
// or a fresh one.
func (s *Credentials) obtain(ctx context.Context, old string) (t Token, fresh bool, e *Error) {
	if s.store == nil {
		t, e = s.fetch(ctx)
		return t, true, e
	}
	look, cancel := context.WithTimeout(ctx, fetchInterval)
	defer cancel()
	poll := time.NewTicker(storePoll)
	defer poll.Stop()
	for {
		t, err := s.store.Load(look)
		if err == nil && t.alive(time.Now()) && t.Value != old {
			return t, false, nil
		}
		mine, lockErr := s.store.Acquire(look)
		if mine || err != nil || lockErr != nil {
			break
		}
		select {
		case <-poll.C:
		case <-look.Done():
			return Token{}, false, &Error{Kind: KindUnavailable, Err: fmt.Errorf("waiting for another process's token: %w", look.Err())}
		}
	}
	if t, e = s.fetch(ctx); e == nil {
		_ = s.store.Save(ctx, t) // else each process fetches its own
	}
	return t, true, e
}
