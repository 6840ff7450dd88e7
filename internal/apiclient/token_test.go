package apiclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// issuer is a token endpoint without a network. Its tokens are T1, T2 and so on.
type issuer struct {
	life  time.Duration // 0 = no expiry said
	takes time.Duration
	fail  atomic.Pointer[Error] // nil = it gives a token
	count atomic.Int32

	mu           sync.Mutex
	began, ended []time.Time // of each fetch
}

func (i *issuer) fetch(ctx context.Context) (Token, *Error) {
	issued := time.Now()
	n := i.count.Add(1)
	defer i.note(issued)
	select {
	case <-time.After(i.takes):
	case <-ctx.Done():
		return Token{}, &Error{Kind: KindUnavailable, Err: ctx.Err()}
	}
	if e := i.fail.Load(); e != nil {
		return Token{}, e
	}
	t := Token{Value: fmt.Sprintf("T%d", n), Issued: issued}
	if i.life > 0 {
		t.Expires = issued.Add(i.life)
	}
	return t, nil
}

func (i *issuer) note(began time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.began, i.ended = append(i.began, began), append(i.ended, time.Now())
}

// pass lets time go by in a synctest bubble, and all that is due in it happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// fetches fails unless there were so many.
func (i *issuer) fetches(t *testing.T, want int32) {
	t.Helper()
	if got := i.count.Load(); got != want {
		t.Errorf("%d fetches, want %d", got, want)
	}
}

// wantToken fails unless the source gives this one at once.
func wantToken(t *testing.T, s TokenSource, want string) {
	t.Helper()
	began := time.Now()
	got, err := s.Token(t.Context())
	if err != nil || got != want {
		t.Errorf("token %q, %v, want %q", got, err, want)
	}
	if waited := time.Since(began); waited > 0 {
		t.Errorf("waited %v for %q", waited, want)
	}
}

// noToken fails unless the source has none, and returns why.
func noToken(t *testing.T, s TokenSource) *Error {
	t.Helper()
	token, err := s.Token(t.Context())
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("token %q, error %v", token, err)
	}
	return e
}

func TestTokenIsCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{life: 60 * 24 * time.Hour, takes: time.Second}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if got, err := s.Token(t.Context()); got != "T1" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		all.Wait()
		pass(59 * 24 * time.Hour) // seconds are seconds: a life in milliseconds would be over
		wantToken(t, s, "T1")
		api.fetches(t, 1)
	})
}

func TestTokenIsRenewedAhead(t *testing.T) {
	tests := []struct {
		life, at time.Duration
	}{
		{60 * 24 * time.Hour, 60*24*time.Hour - 5*time.Minute},
		{time.Hour, 55 * time.Minute},
		{50 * time.Minute, 45 * time.Minute},
		{10 * time.Minute, 9 * time.Minute},
		{time.Minute, 54 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &issuer{life: tt.life}
				s := newCredentials(api.fetch, nil)
				defer s.Close()
				wantToken(t, s, "T1")
				pass(tt.at - time.Millisecond)
				wantToken(t, s, "T1")
				synctest.Wait()
				api.fetches(t, 1)

				api.takes = 3 * time.Second
				pass(time.Millisecond)
				for range 10 { // nobody waits while the old one serves
					wantToken(t, s, "T1")
				}
				synctest.Wait()
				api.fetches(t, 2)
				pass(api.takes)
				synctest.Wait()
				wantToken(t, s, "T2")
				api.fetches(t, 2)
			})
		})
	}
}

func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{life: time.Hour}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		wantToken(t, s, "T1")
		pass(time.Hour)
		api.takes = time.Second
		if got, err := s.Token(t.Context()); got != "T2" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestTokenWithoutExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		wantToken(t, s, "T1")
		pass(10 * 365 * 24 * time.Hour)
		wantToken(t, s, "T1")
	})
}

// While renewal fails the old token serves to its end, and the endpoint is left
// in peace for 2 s, or as long as it asks.
func TestTokenRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{life: time.Hour}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		wantToken(t, s, "T1")
		pass(55 * time.Minute)
		api.fail.Store(&Error{Kind: KindUnavailable, Status: 503})
		for range 40 { // 10 s
			wantToken(t, s, "T1")
			pass(250 * time.Millisecond)
		}
		api.fetches(t, 1+5)
		api.fail.Store(&Error{Kind: KindUnavailable, Status: 429, RetryAfter: time.Minute})
		for range 8 { // 2 min
			pass(15 * time.Second)
			wantToken(t, s, "T1")
		}
		synctest.Wait()
		api.fetches(t, 1+5+2)
		pass(5 * time.Minute)
		if e := noToken(t, s); e.Kind != KindUnavailable || e.Status != 429 || e.RetryAfter != time.Minute {
			t.Errorf("%+v", *e)
		}
		pass(20 * time.Second)
		if e := noToken(t, s); e.RetryAfter != 40*time.Second {
			t.Errorf("20 s later: %+v", *e)
		}
		api.fail.Store(nil)
		pass(40 * time.Second)
		wantToken(t, s, "T10")
	})
}

func TestTokenFirstFetchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{takes: time.Second}
		api.fail.Store(&Error{Kind: KindUnauthorized, Status: 401, Code: "unauthorized"})
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if e := noToken(t, s); e.Kind != KindUnauthorized || e.RetryAfter != 2*time.Second {
					t.Errorf("%+v", *e)
				}
			})
		}
		all.Wait()
		api.fetches(t, 1)
		pass(1999 * time.Millisecond)
		_ = noToken(t, s)
		api.fetches(t, 1)
		api.fail.Store(nil)
		pass(time.Millisecond)
		if got, err := s.Token(t.Context()); got != "T2" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// A caller that goes does not take the fetch of the others with it.
func TestTokenCallerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{takes: 10 * time.Second}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Token(ctx)
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindNoToken || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if got, err := s.Token(t.Context()); got != "T1" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		api.fetches(t, 1)
	})
}

func TestTokenRejected(t *testing.T) {
	t.Run("after it was accepted: renewed, once for all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour, takes: time.Second}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			if _, err := s.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.Accepted("T1")
			pass(10 * time.Minute)
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if !s.Rejected("T1") {
						t.Error("no hope")
					}
					if got, err := s.Token(t.Context()); got != "T2" || err != nil {
						t.Errorf("%q, %v", got, err)
					}
				})
			}
			all.Wait()
			if !s.Rejected("T1") { // a late answer
				t.Error("no hope for a late one")
			}
			wantToken(t, s, "T2")
			api.fetches(t, 2)
		})
	})
	t.Run("soon after it was accepted: renewed 2 s after the fetch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			wantToken(t, s, "T1")
			began := time.Now()
			s.Accepted("T1")
			pass(500 * time.Millisecond)
			s.Rejected("T1")
			got, err := s.Token(t.Context())
			if waited := time.Since(began); got != "T2" || err != nil || waited != 2*time.Second {
				t.Errorf("%q, %v after %v", got, err, waited)
			}
		})
	})
	t.Run("never accepted: wrong settings, but tried again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			for n := range int32(3) {
				began := time.Now()
				wantToken(t, s, fmt.Sprint("T", n+1))
				for range 3 { // calls that were under way together
					s.Rejected(fmt.Sprint("T", n+1))
				}
				if e := noToken(t, s); e.Kind != KindUnauthorized || e.Status != 401 || e.RetryAfter != 2*time.Second {
					t.Errorf("%+v", *e)
				}
				if waited := time.Since(began); waited != 2*time.Second {
					t.Errorf("judged after %v", waited)
				}
				api.fetches(t, n+1)
				pass(2 * time.Second)
			}
			wantToken(t, s, "T4")
			s.Accepted("T4")
			wantToken(t, s, "T4")
		})
	})
	t.Run("the renewed one is wrong too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			wantToken(t, s, "T1")
			s.Accepted("T1")
			pass(time.Minute)
			s.Rejected("T1")
			wantToken(t, s, "T2")
			s.Accepted("T1") // a late answer says nothing of the new one
			s.Rejected("T2")
			if e := noToken(t, s); e.Kind != KindUnauthorized {
				t.Errorf("%+v", *e)
			}
		})
	})
	t.Run("before the answer that accepts it: no wrong settings", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			wantToken(t, s, "T1")
			s.Rejected("T1") // it was good for a few calls
			time.AfterFunc(1900*time.Millisecond, func() { s.Accepted("T1") })
			if got, err := s.Token(t.Context()); got != "T2" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	})
	t.Run("long after it was fetched: no wrong settings", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			wantToken(t, s, "T1")
			pass(freshFor)
			s.Rejected("T1")
			if got, err := s.Token(t.Context()); got != "T2" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	})
}

func TestTokenClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{takes: time.Hour}
		s := newCredentials(api.fetch, nil)
		got := make(chan error)
		go func() {
			_, err := s.Token(t.Context())
			got <- err
		}()
		synctest.Wait()
		began := time.Now()
		go s.Close()
		var e *Error
		if err := <-got; !errors.As(err, &e) || e.Kind != KindNoToken || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if e := noToken(t, s); !errors.Is(e, errClosed) {
			t.Errorf("%+v", *e)
		}
		api.fetches(t, 1)
	})
}

func TestTokenStillborn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{life: time.Second, takes: 2 * time.Second}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		if e := noToken(t, s); e.Kind != KindNoToken || !errors.Is(e, errStillborn) {
			t.Errorf("%+v", *e)
		}
	})
}
