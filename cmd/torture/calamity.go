package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// calamity is a kind of misfortune.
type calamity string

const (
	killWorker calamity = "kill"     // SIGKILL to one worker, which is started again
	killAll    calamity = "kill-all" // to all of them together
	stopWorker calamity = "stop"     // SIGSTOP, longer or shorter than a claim lives, then SIGCONT
	rolling    calamity = "rolling"  // SIGTERM and a new start, one worker after the other
	killRedis  calamity = "redis"    // SIGKILL to Redis, which is started again
	fullRedis  calamity = "full"     // Redis takes no more writes, for want of memory
	loseTokens calamity = "tokens"   // asynq's queues of slot tokens are deleted
	outage     calamity = "outage"   // the API answers 503, or refuses connections
)

// lane is one sequence of calamities: those of two lanes may overlap.
type lane []calamity

// lanes: what befalls workers, and what befalls everything around them.
var lanes = []lane{{killWorker, stopWorker, killAll, rolling}, {killRedis, loseTokens, outage, fullRedis}}

func kindList() string {
	var names []string
	for _, kind := range slices.Concat(lanes...) {
		names = append(names, string(kind))
	}
	return strings.Join(names, ",")
}

// event is a calamity of the schedule.
type event struct {
	at     time.Duration // since the begin
	kind   calamity
	worker int           // which one it strikes first
	lasts  time.Duration // until what was struck is repaired
	style  int           // 0 or 1, for kinds that have two ways
}

// schedule draws what is to happen in a lane. Each kind comes once before any
// comes again, so that a short run has seen most of them.
func (o *options) schedule(n int) (events []event) {
	rng := rand.New(rand.NewPCG(uint64(o.Seed), uint64(n)+1))
	kinds := slices.DeleteFunc(slices.Clone(lanes[n]), func(k calamity) bool { return !slices.Contains(o.Calamities, k) })
	if len(kinds) == 0 {
		return nil
	}
	between := func(low, high time.Duration) time.Duration {
		return low + time.Duration(rng.Float64()*float64(high-low))
	}
	var bag []calamity
	for at := between(o.KillsEvery/2, o.KillsEvery); at < o.Duration; at += between(o.KillsEvery/2, o.KillsEvery*3/2) {
		if len(bag) == 0 {
			bag = slices.Clone(kinds)
			rng.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		e := event{at: at, kind: bag[0], worker: rng.IntN(o.Workers), style: rng.IntN(2)}
		bag = bag[1:]
		long := between(0, time.Second) // drawn for every kind, so that each event takes as many numbers
		share := float64(long) / float64(time.Second)
		span := func(low, high time.Duration) time.Duration { return low + time.Duration(share*float64(high-low)) }
		switch e.kind {
		case killWorker, killAll: // at once, or after a moment
			e.lasts = time.Duration(e.style) * span(500*time.Millisecond, 4*time.Second)
		case stopWorker:
			e.lasts = span(time.Second, 8*time.Second)
		case killRedis:
			if e.lasts = 500 * time.Millisecond; e.style == 1 {
				e.lasts = span(3*time.Second, 10*time.Second)
			}
		case fullRedis:
			e.lasts = span(2*time.Second, 4*time.Second)
		case outage:
			e.lasts = span(2*time.Second, 6*time.Second)
		case rolling, loseTokens:
		}
		events = append(events, e)
	}
	return events
}
