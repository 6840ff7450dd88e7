package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"crier/internal/chatsim"
	"crier/internal/procs"
)

const (
	targetsPerCall  = 100
	urgentCalls     = 8 // URGENT_CONCURRENCY
	shutdownTimeout = 10 * time.Second
	// shutdownGrace is for a worker's end beyond SHUTDOWN_TIMEOUT, on a busy machine.
	shutdownGrace = 3 * time.Second
)

// worker is a place for one worker process after the other.
type worker struct {
	process *procs.Process
	mu      sync.Mutex // held while it is killed or ended on purpose, until it runs again
}

func (w *world) startWorker(at *worker) (err error) {
	sim := chatsim.DefaultConfig()
	at.process, err = w.programs.Start(w.programs.Command(context.Background(), 0, []string{
		"REDIS_URL=" + w.redis.URL(), "CHAT_URL=" + w.chatURL, "CHAT_ORG=" + sim.Org, "CHAT_APP=" + sim.App, "CHAT_TOKEN=" + sim.Token,
		"CHAT_QUOTA=" + w.quota(), "CHAT_MAX_USERS=" + strconv.Itoa(targetsPerCall), "ADMIN_ADDR=off",
		"CONCURRENCY=" + strconv.Itoa(w.options.Concurrency), "URGENT_CONCURRENCY=" + strconv.Itoa(urgentCalls),
		"SHUTDOWN_TIMEOUT=" + shutdownTimeout.String(),
	}, "worker"))
	return err
}

// watch notes workers that end by themselves, and starts them again.
func (w *world) watch(ctx context.Context) {
	for procs.Pause(ctx, 100*time.Millisecond) == nil {
		for _, place := range w.workers {
			if !place.mu.TryLock() {
				continue // it is being ended
			}
			select {
			case <-place.process.Exited:
				if ctx.Err() == nil {
					w.fault(fmt.Errorf("a worker has ended by itself, with %v: %s\n%s", place.process.Cmd.ProcessState, place.process.Log, procs.Tail(place.process.Log)))
					w.fault(w.startWorker(place))
				}
			default:
			}
			place.mu.Unlock()
		}
	}
}

// endWorker ends a worker as an operator would: it has to exit with 0 in time. One
// that has not said a word yet may not listen to signals yet.
func (w *world) endWorker(place *worker) {
	err := place.process.Await(`"msg"`)
	if err == nil {
		err = place.process.Stop(shutdownTimeout + shutdownGrace)
	}
	if err != nil {
		w.fault(fmt.Errorf("after SIGTERM: %w (%s)", err, place.process.Log))
		place.process.Kill()
	}
}
