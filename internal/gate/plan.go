package gate

import "time"

// Forecast tells when calls would go if no others went: evenly spaced, as the
// gate grants bulk calls. It is arithmetic without a Redis and without waiting.
// Calls that the gate cuts down, so that they fill a window, are not foreseen.
//
// Make one with NewForecast. It is not for concurrent use.
type Forecast struct {
	paces []forecastPace
	last  time.Duration
}

// forecastPace is a rate by which calls go.
type forecastPace struct {
	targets bool
	limit   int           // units
	spacing float64       // nanoseconds of one unit
	due     float64       // when the next call may go, in nanoseconds
	waited  time.Duration // for this rate, where no other made calls wait longer
}

// horizon is where time ends for a forecast: long before a duration overflows.
const horizon = 100 * 365 * 24 * time.Hour

// NewForecast begins a forecast by the quota of a target type. The margin is
// that of the gate (Config.Margin).
func NewForecast(margin time.Duration, quota ...Rate) *Forecast {
	f := &Forecast{}
	for _, r := range quota {
		f.add(margin, r, r.N-r.N/reserved)
	}
	return f
}

// reserved is the part of a quota that is kept for urgent calls: one in so many (grant.lua).
const reserved = 100

// Cap adds a job's own cap, in targets a second.
func (f *Forecast) Cap(margin time.Duration, perSecond int) {
	f.add(margin, Rate{N: perSecond, Targets: true, Window: time.Second}, perSecond)
}

func (f *Forecast) add(margin time.Duration, r Rate, limit int) {
	length := float64(min(r.Window, horizon) + margin)
	f.paces = append(f.paces, forecastPace{targets: r.Targets, limit: limit, spacing: length / float64(limit)})
}

// Call adds a call with so many targets and returns when it goes: the time
// since the first one, at most a hundred years.
func (f *Forecast) Call(targets int) time.Duration {
	at, slowest := f.last, -1
	for i, p := range f.paces {
		if due := time.Duration(min(p.due, float64(horizon))); due > at {
			at, slowest = due, i
		}
	}
	if slowest >= 0 {
		f.paces[slowest].waited += at - f.last
	}
	f.last = at
	for i := range f.paces {
		p, cost := &f.paces[i], 1
		if p.targets {
			cost = min(targets, p.limit)
		}
		p.due += float64(cost) * p.spacing // whoever waited for another rate catches up
	}
	return at
}

// Binding is the index of the rate for which calls have waited longest in all,
// in the order in which they were given; -1 if none has waited.
func (f *Forecast) Binding() int {
	most, binding := time.Duration(0), -1
	for i, p := range f.paces {
		if p.waited > most {
			most, binding = p.waited, i
		}
	}
	return binding
}
