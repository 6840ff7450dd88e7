package gate

import "time"

// Forecast tells when calls would go if no others went, beginning with empty
// windows, each as soon as the gate grants it: arithmetic without a Redis and
// without waiting. It holds no more than the calls of a running window, those
// of one moment together, so it can follow millions of them.
//
// Make one with NewForecast. It is not for concurrent use.
type Forecast struct {
	windows []window
	last    time.Duration
}

// window is what a rate has granted within the time that still counts.
type window struct {
	rate   Rate
	length time.Duration // the gate's margin included
	calls  []moment      // oldest first
	used   int           // sum of their costs
	waited time.Duration // for this rate, where no other made calls wait longer
}

// moment is all calls that went at one time.
type moment struct {
	at   time.Duration
	cost int
}

// horizon is where time ends for a forecast: long before a duration overflows.
const horizon = 100 * 365 * 24 * time.Hour

// NewForecast begins a forecast by rates, all of which hold at once. The
// margin is that of the gate (Config.Margin).
func NewForecast(margin time.Duration, rates ...Rate) *Forecast {
	f := &Forecast{windows: make([]window, len(rates))}
	for i, r := range rates {
		f.windows[i] = window{rate: r, length: min(r.Window, horizon) + margin}
	}
	return f
}

// Call adds a call with so many targets and returns when it goes: the time
// since the first one, at most a hundred years.
func (f *Forecast) Call(targets int) time.Duration {
	at, slowest := f.last, -1
	for i := range f.windows {
		if opens := f.windows[i].opens(targets); opens > at {
			at, slowest = opens, i
		}
	}
	if slowest >= 0 {
		f.windows[slowest].waited += at - f.last
	}
	f.last = at
	for i := range f.windows {
		f.windows[i].charge(at, targets)
	}
	return at
}

// Binding is the index of the rate for which calls have waited longest in all,
// -1 if none has waited.
func (f *Forecast) Binding() int {
	most, binding := time.Duration(0), -1
	for i, w := range f.windows {
		if w.waited > most {
			most, binding = w.waited, i
		}
	}
	return binding
}

// cost is what a call takes of the window: as with the gate, one that no
// window could hold takes a whole one.
func (w *window) cost(targets int) int {
	if w.rate.Targets {
		return min(targets, w.rate.N)
	}
	return 1
}

// opens is when enough calls have left the window for one more.
func (w *window) opens(targets int) (at time.Duration) {
	left := w.used
	for _, m := range w.calls {
		if left+w.cost(targets) <= w.rate.N {
			break
		}
		left -= m.cost
		at = w.leaves(m)
	}
	return at
}

// leaves is when calls leave the window.
func (w *window) leaves(m moment) time.Duration { return min(m.at+w.length, horizon) }

// charge enters a call, and drops those that have left the window by then.
func (w *window) charge(at time.Duration, targets int) {
	for len(w.calls) > 0 && w.leaves(w.calls[0]) <= at {
		w.used -= w.calls[0].cost
		w.calls = w.calls[1:]
	}
	cost := w.cost(targets)
	w.used += cost
	if n := len(w.calls); n > 0 && w.calls[n-1].at == at {
		w.calls[n-1].cost += cost
		return
	}
	w.calls = append(w.calls, moment{at, cost})
}
