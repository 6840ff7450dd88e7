package apiclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// shelf is what the processes of a fleet share, in memory.
type shelf struct {
	mu       sync.Mutex
	token    Token
	accepted string // token that one process had accepted
	owner    int    // who has the leave to fetch,
	until    time.Time
	err      error // nil = it works
	hangs    bool  // it answers when the caller gives up
}

// member is the shelf as one process sees it.
type member struct {
	*shelf
	id int
}

// use begins a call of the store; a nil error asks to end it with Unlock.
func (m member) use(ctx context.Context) error {
	if m.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
	}
	return m.err
}

func (m member) Load(ctx context.Context) (Token, error) {
	if err := m.use(ctx); err != nil {
		return Token{}, err
	}
	defer m.mu.Unlock()
	t := m.token
	t.Accepted = t.Value == m.accepted
	return t, nil
}

func (m member) Save(ctx context.Context, t Token) error {
	if err := m.use(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.token = t
	return nil
}

func (m member) Accepted(ctx context.Context, t Token) error {
	if err := m.use(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.accepted = t.Value
	return nil
}

func (m member) Acquire(ctx context.Context, d time.Duration) (bool, error) {
	if err := m.use(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	if now := time.Now(); m.owner == m.id || !now.Before(m.until) {
		m.owner, m.until = m.id, now.Add(d)
		return true, nil
	}
	return false, nil
}

// fleet is some processes with a shelf, closed with the test.
func fleet(t *testing.T, api *issuer, on *shelf, processes int) []*Credentials {
	t.Helper()
	sources := make([]*Credentials, processes)
	for i := range sources {
		sources[i] = newCredentials(api.fetch, member{on, i + 1})
		t.Cleanup(sources[i].Close)
	}
	return sources
}

// each gets a token for all processes at once, which must be this one.
func each(t *testing.T, sources []*Credentials, want string) {
	t.Helper()
	var all sync.WaitGroup
	for _, s := range sources {
		all.Go(func() {
			if got, err := s.Token(t.Context()); err != nil || want != "" && got != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		})
	}
	all.Wait()
}

// inFleet runs a test in a synctest bubble, and holds the fetches of its issuer
// against the rule: 2 s from the end of one to the beginning of the next.
func inFleet(name string, t *testing.T, test func(t *testing.T, api *issuer)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			test(t, api)
			for i := 1; i < len(api.ended); i++ {
				if pause := api.began[i].Sub(api.ended[i-1]); pause < fetchInterval {
					t.Errorf("fetch %d began %v after the one before", i+1, pause)
				}
			}
		})
	})
}

func TestFleet(t *testing.T) {
	inFleet("one fetch for all, also after a 401 and ahead of expiry", t, func(t *testing.T, api *issuer) {
		api.takes = time.Second
		sources := fleet(t, api, new(shelf), 10)
		each(t, sources, "T1")
		for _, s := range sources {
			s.Accepted("T1")
		}
		pass(time.Minute)
		for _, s := range sources {
			s.Rejected("T1")
		}
		each(t, sources, "T2")
		api.fetches(t, 2)
		pass(56 * time.Minute) // due
		each(t, sources, "T2")
		pass(2 * time.Second)
		each(t, sources, "T3")
		api.fetches(t, 3)
	})
	inFleet("one fetch for all, however long it takes", t, func(t *testing.T, api *issuer) {
		api.takes = 9 * time.Second
		sources := fleet(t, api, new(shelf), 5)
		for _, s := range sources {
			s.patience = 15 * time.Second
		}
		for n := range int32(3) {
			each(t, sources, fmt.Sprint("T", n+1))
			api.fetches(t, n+1)
			for _, s := range sources {
				s.Accepted(fmt.Sprint("T", n+1))
				s.Rejected(fmt.Sprint("T", n+1))
			}
		}
	})
	inFleet("a dead token on the shelf is no wrong setting", t, func(t *testing.T, api *issuer) {
		s := fleet(t, api, &shelf{token: Token{Value: "old", Issued: time.Now(), Expires: time.Now().Add(time.Hour)}}, 1)[0]
		wantToken(t, s, "old")
		s.Rejected("old")
		wantToken(t, s, "T1")
	})
	inFleet("an expired token on the shelf is not used", t, func(t *testing.T, api *issuer) {
		s := fleet(t, api, &shelf{token: Token{Value: "old", Expires: time.Now()}}, 1)[0]
		wantToken(t, s, "T1")
	})
	inFleet("one that is due is used while it is renewed", t, func(t *testing.T, api *issuer) {
		api.takes = time.Second
		now := time.Now()
		sources := fleet(t, api, &shelf{token: Token{Value: "old", Issued: now.Add(-59 * time.Minute), Expires: now.Add(time.Minute)}}, 5)
		each(t, sources, "old")
		each(t, sources, "old") // and for this one nobody waits
		pass(2 * time.Second)
		each(t, sources, "T1")
		api.fetches(t, 1)
	})
	inFleet("the newer token of another is taken at once", t, func(t *testing.T, api *issuer) {
		on := new(shelf)
		sources := fleet(t, api, on, 2)
		each(t, sources, "T1")
		sources[0].Accepted("T1")
		pass(2 * time.Second)
		sources[0].Rejected("T1")
		wantToken(t, sources[0], "T2")
		sources[1].Rejected("T1")
		wantToken(t, sources[1], "T2")
		api.fetches(t, 2)
	})
	// What one process has refused comes back from another, again and again.
	inFleet("nobody goes back to a refused token", t, func(t *testing.T, api *issuer) {
		on := new(shelf)
		s := fleet(t, api, on, 1)[0]
		for n := range 5 {
			before := on.token
			if got, err := s.Token(t.Context()); got != fmt.Sprint("T", n+1) || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			s.Accepted(fmt.Sprint("T", n+1))
			s.Rejected(fmt.Sprint("T", n+1))
			if on.mu.Lock(); n > 0 {
				on.token = before
			}
			on.mu.Unlock()
		}
		api.fetches(t, 5)
	})
	inFleet("a token that others have used up is no wrong setting", t, func(t *testing.T, api *issuer) {
		sources := fleet(t, api, new(shelf), 2)
		wantToken(t, sources[0], "T1") // the fetcher, whose own calls come late
		wantToken(t, sources[1], "T1")
		sources[1].Accepted("T1")
		sources[0].Rejected("T1")
		if got, err := sources[0].Token(t.Context()); got != "T2" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
	inFleet("no token is ever accepted: all say so, and nobody fetches twice", t, func(t *testing.T, api *issuer) {
		api.takes = 50 * time.Millisecond
		sources := fleet(t, api, new(shelf), 10)
		var all sync.WaitGroup
		for _, s := range sources {
			s.patience = time.Minute
			all.Go(func() {
				for {
					token, err := s.Token(t.Context())
					if err != nil {
						if asError(err).Kind != KindUnauthorized {
							t.Error(err)
						}
						return
					}
					s.Rejected(token)
				}
			})
		}
		all.Wait()
		api.fetches(t, 10)
	})
	inFleet("wrong credentials: one after the other", t, func(t *testing.T, api *issuer) {
		api.fail.Store(&Error{Kind: KindUnauthorized, Status: 400, Code: "invalid_grant"})
		var all sync.WaitGroup
		for _, s := range fleet(t, api, new(shelf), 3) {
			s.patience = time.Minute
			for range 5 {
				all.Go(func() {
					if e := noToken(t, s); e.Kind != KindUnauthorized || e.Code != "invalid_grant" {
						t.Errorf("%+v", *e)
					}
				})
			}
		}
		all.Wait()
		api.fetches(t, 3)
	})
	inFleet("what the token endpoint asks of one holds for all", t, func(t *testing.T, api *issuer) {
		api.fail.Store(&Error{Kind: KindNoToken, Status: 429, RetryAfter: time.Minute})
		sources := fleet(t, api, new(shelf), 3)
		if e := noToken(t, sources[0]); e.Status != 429 || e.RetryAfter != time.Minute {
			t.Errorf("%+v", *e)
		}
		api.fail.Store(nil)
		for time.Since(api.ended[0]) < 50*time.Second {
			for _, s := range sources {
				if e := noToken(t, s); e.Kind != KindNoToken {
					t.Errorf("%+v", *e)
				}
			}
			pass(time.Second)
		}
		api.fetches(t, 1)
		pass(10 * time.Second)
		each(t, sources, "T2")
	})
	inFleet("a pause that one was told of does not bar it from the others' token", t, func(t *testing.T, api *issuer) {
		api.fail.Store(&Error{Kind: KindNoToken, Status: 429, RetryAfter: time.Hour})
		on := new(shelf)
		s := fleet(t, api, on, 1)[0]
		if e := noToken(t, s); e.RetryAfter != longestPause {
			t.Errorf("%+v", *e)
		}
		on.token = Token{Value: "another"}
		pass(2 * time.Second)
		wantToken(t, s, "another")
	})
	inFleet("who has the leave dies: another goes on soon", t, func(t *testing.T, api *issuer) {
		on := &shelf{owner: 99, until: time.Now().Add(2 * fetchInterval)}
		sources := fleet(t, api, on, 3)
		began := time.Now()
		for _, s := range sources {
			s.patience = 10 * time.Second
		}
		each(t, sources, "T1")
		if waited := time.Since(began); waited > 2*fetchInterval+3*storePoll {
			t.Errorf("waited %v", waited)
		}
		api.fetches(t, 1)
	})
	inFleet("another has the leave and comes to nothing", t, func(t *testing.T, api *issuer) {
		s := fleet(t, api, &shelf{owner: 99, until: time.Now().Add(time.Hour)}, 1)[0]
		began := time.Now()
		e := noToken(t, s)
		if e.Kind != KindNoToken || !errors.Is(e, context.DeadlineExceeded) || time.Since(began) != s.patience {
			t.Errorf("%+v after %v", *e, time.Since(began))
		}
		api.fetches(t, 0)
	})
}

// A store that fails leaves each process to itself, with the rule of 2 s.
func TestFleetWithoutAStore(t *testing.T) {
	for name, on := range map[string]*shelf{"fails": {err: errors.New("down")}, "hangs": {hangs: true}} {
		inFleet(name, t, func(t *testing.T, api *issuer) {
			s := fleet(t, api, on, 1)[0]
			for n := range 3 {
				token := fmt.Sprint("T", n+1)
				if got, err := s.Token(t.Context()); got != token || err != nil {
					t.Errorf("%q, %v", got, err)
				}
				s.Accepted(token)
				s.Rejected(token)
			}
		})
	}
}
