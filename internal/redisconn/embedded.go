package redisconn

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// clockTick is how often the embedded server's keys grow older, and so how
// exactly they expire.
const clockTick = 100 * time.Millisecond

// startEmbedded starts a server on host:port, which stop ends.
func startEmbedded(hostPort string) (addr string, stop func(), err error) {
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(hostPort); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return "", nil, fmt.Errorf("redisconn: embedded Redis: %s is in use: choose another port with embedded:PORT, or 0 for any free one: %w", hostPort, err)
		}
		return "", nil, fmt.Errorf("redisconn: embedded Redis: %w", err)
	}
	done := make(chan struct{})
	var clock sync.WaitGroup
	clock.Go(func() { runClock(server, done) })
	return server.Addr(), func() {
		close(done)
		clock.Wait()
		server.Close()
	}, nil
}

// runClock lets keys expire, which they do not by themselves. (The server's own
// ClockTTL goes through all keys on every command.)
func runClock(server *miniredis.Miniredis, done <-chan struct{}) {
	ticker := time.NewTicker(clockTick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			now := time.Now()
			server.FastForward(now.Sub(last))
			last = now
		}
	}
}
