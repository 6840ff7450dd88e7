package pacing

import (
	"container/heap"
	"time"
)

// epoch is when virtual time begins. Any time does; this one is not aligned to
// a second, as a start never is.
var epoch = time.Date(2026, time.January, 1, 9, 0, 0, 371_000_000, time.UTC)

// clock is virtual time: it stands still while something happens, and then
// jumps to what happens next.
type clock struct {
	now    time.Duration // since the beginning
	events events
	count  int
}

// time is the present as the gate is told it.
func (c *clock) time() time.Time { return epoch.Add(c.now) }

// after lets something happen a while from now; of what happens at the same
// time, what was planned first comes first.
func (c *clock) after(d time.Duration, do func() error) {
	c.count++
	heap.Push(&c.events, event{at: c.now + d, order: c.count, do: do})
}

// run lets all happen that is planned before the end, and what follows from it.
func (c *clock) run(end time.Duration) error {
	for len(c.events) > 0 && c.events[0].at < end {
		e, _ := heap.Pop(&c.events).(event)
		c.now = e.at
		if err := e.do(); err != nil {
			return err
		}
	}
	c.now = end
	return nil
}

type event struct {
	at    time.Duration
	order int
	do    func() error
}

// events is a heap, the next one first.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push is heap.Interface's.
func (e *events) Push(x any) { *e = append(*e, x.(event)) }

// Pop is heap.Interface's.
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	(*e)[len(*e)-1] = event{}
	*e = (*e)[:len(*e)-1]
	return last
}
