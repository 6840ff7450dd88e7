package pacing

import "time"

// faults are links that refuse, are slow or are away for other reasons than the rate.
func faults() []Scenario {
	auto := func(name, about string, l Link, bands []Band) Scenario {
		return Scenario{Name: name, About: about, Quota: "auto", Link: l, Fleet: three(Range{Least: 100}), Length: bands[len(bands)-1].To, Bands: bands}
	}
	noisy := func(noise float64, limits ...Limit) Link {
		l := link(limits...)
		l.Noise = noise
		return l
	}
	fifty := perSecond(50, Fixed)
	slow, uneven := link(perSecond(20, Fixed)), link(fifty)
	slow.Latency, slow.Jitter = 2*time.Second, 200*time.Millisecond
	uneven.Latency, uneven.Jitter = 20*time.Millisecond, 380*time.Millisecond
	unlimited := noisy(0.03)
	unlimited.Latency, unlimited.Jitter = 90*time.Millisecond, 20*time.Millisecond
	busy := auto("slow-server", "20 calls/s, learned; a call takes 2 s", slow, between(20, 60, 0.88, 0.05))
	busy.Fleet.Places = 22 // 40 calls are on their way at any time
	return []Scenario{
		auto("noise-3", "50 calls/s, learned; 3 % of the calls are refused whatever the rate", noisy(0.03, fifty), between(15, 75, 0.35, 0.08)),
		auto("noise-8", "50 calls/s, learned; 8 % of the calls are refused whatever the rate", noisy(0.08, fifty), between(15, 75, 0.60, 0.13)),
		auto("noise-without-quota", "no quota; 3 % of the calls are refused whatever the rate", unlimited, between(30, 45, 0.85, 0.04)),
		busy,
		auto("uneven-server", "50 calls/s, learned; a call takes 20 to 400 ms", uneven, between(15, 45, 0.93, 0.05)),
		outage("outage-known", "40 calls/s, known; away from 20 s to 80 s", "users=40/s"),
		outage("outage-auto", "40 calls/s, learned; away from 20 s to 80 s", "auto"),
	}
}

// outage is a minute without an API: the fleet may try once in 5 s, and has to
// be back soon.
func outage(name, about, quota string) Scenario {
	const from, to = 20 * time.Second, 80 * time.Second
	l := link(perSecond(40, Fixed))
	l.Outages = []Span{{from, to}}
	tries := to - from - 5*time.Second
	return Scenario{
		Name: name, About: about, Quota: quota, Link: l, Fleet: three(Range{Least: 100}), Length: 110 * time.Second,
		Bands: append(between(90, 110, 0.90, 0.05), Band{MostSent, from + 5*time.Second, to, float64(tries/(5*time.Second)) + 1}),
	}
}

// urgent are single targets that come up beside bulk that has no end.
func urgent() []Scenario {
	beside := func(name, about, quota string, learned int) Scenario {
		s := Scenario{
			Name: name, About: about, Quota: quota, Link: link(perSecond(40, Fixed)), Fleet: three(Range{Least: 100}), Length: 45 * time.Second,
		}
		s.Fleet.Urgent = 500 * time.Millisecond
		start := time.Duration(learned) * time.Second
		s.Bands = append(between(learned, 45, 0.90, 0.05), Band{UrgentP95, start, s.Length, 0.1})
		return s
	}
	return []Scenario{
		beside("urgent-known", "40 calls/s, known; an urgent call every 0.5 s beside bulk", "users=40/s", 5),
		beside("urgent-auto", "40 calls/s, learned; an urgent call every 0.5 s beside bulk", "auto", 15),
	}
}
