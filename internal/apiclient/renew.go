package apiclient

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// renew puts another token in the place of the one that is held.
func (s *Credentials) renew() {
	h, e := s.obtain()
	s.mu.Lock()
	defer s.mu.Unlock()
	if e == nil {
		s.held = h
	}
	s.tried, s.failure = time.Now(), e
	close(s.renewing)
	s.renewing = nil
}

// obtain returns the token that another process shares, if it is of use, or a
// fresh one, as soon as that may be fetched.
func (s *Credentials) obtain() (held, *Error) {
	ctx, cancel := context.WithTimeout(s.closing, s.patience)
	defer cancel()
	for {
		shared := s.load(ctx)
		if s.fits(shared) {
			return held{Token: shared}, nil
		}
		wait, e := s.mayFetch(shared)
		if e != nil {
			return held{}, e
		}
		if wait <= 0 {
			wait = storePoll
			if mine, err := s.acquire(ctx); mine || err != nil && ctx.Err() == nil {
				return s.fetchNow()
			}
		}
		select {
		case <-time.After(min(wait, storePoll)):
		case <-ctx.Done():
			return held{}, &Error{Kind: KindNoToken, Err: fmt.Errorf("waiting for another process's token: %w", ctx.Err())}
		}
	}
}

// load returns the shared token, or none.
func (s *Credentials) load(ctx context.Context) Token {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	t, err := s.store.Load(ctx)
	if err != nil {
		return Token{}
	}
	return t
}

// acquire asks for the leave to fetch, or for more of it.
func (s *Credentials) acquire(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.store.Acquire(ctx, 2*s.interval)
}

// fits reports whether to go on with a shared token: no process goes back to
// one that it has seen refused, however often others share it.
func (s *Credentials) fits(t Token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	known := t.Value == s.held.Value || slices.Contains(s.refused, t.Value)
	return t.alive(now) && !known && (!t.due(now) || !s.held.good(now))
}

// mayFetch returns how long to wait before a fetch, or why there is to be none.
// A suspect is judged only when the next fetch would be due, and not at once:
// until then answers may come in that the API gave before it refused the token.
func (s *Credentials) mayFetch(shared Token) (wait time.Duration, e *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wait = s.notAgain.Sub(now)
	switch {
	case wait > 0 && s.failure != nil:
		failure := *s.failure
		return wait, &failure
	case wait > 0:
	case s.held.suspect(now) && (!shared.Accepted || shared.Value != s.held.Value):
		s.held = held{} // the next try fetches
		return 0, &Error{Kind: KindUnauthorized, Status: http.StatusUnauthorized, Err: errTokenDead}
	}
	return wait, nil
}

// fetchNow asks the token endpoint and shares what it gives. Other processes
// are kept from fetching meanwhile, and for the pause after it.
func (s *Credentials) fetchNow() (held, *Error) {
	ctx, cancel := context.WithCancel(s.closing)
	var beat sync.WaitGroup
	beat.Go(func() { s.keepLeave(ctx) })
	t, e := s.fetch(ctx)
	cancel()
	beat.Wait()
	if e == nil && !t.alive(time.Now()) {
		e = &Error{Kind: KindNoToken, Err: errStillborn}
	}
	pause := s.interval
	if e != nil {
		pause = max(pause, min(e.RetryAfter, longestPause))
	}
	s.mu.Lock()
	s.notAgain = time.Now().Add(pause)
	s.mu.Unlock()

	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), storeTimeout) // also if this process is about to end
	defer cancel()
	mine, err := s.store.Acquire(ctx, pause)
	if e == nil && err == nil && mine { // else another has fetched meanwhile
		_ = s.store.Save(ctx, t) // else each process fetches its own
	}
	return held{Token: t, fetched: true}, e
}

// keepLeave keeps the leave to fetch until ctx ends, however long the fetch
// takes; if this process dies, the leave soon ends by itself.
func (s *Credentials) keepLeave(ctx context.Context) {
	tick := time.NewTicker(s.interval / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = s.acquire(ctx) // the next one may do better
		}
	}
}
