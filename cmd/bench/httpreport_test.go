package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sampleHTTP is a report of two rounds with round figures.
func sampleHTTP() *httpReport {
	job := func(rate float64, p50, cpu time.Duration, counted trips) jobRound {
		return jobRound{
			answers: answers{jobs: 100, rate: rate, p50: p50 * time.Millisecond, p99: 2 * p50 * time.Millisecond},
			server:  usage{cpu: cpu * time.Millisecond, peak: 40 << 20}, redisCPU: 20 * time.Millisecond,
			reads: 8.02, commands: 24, trips: counted, sent: 200,
		}
	}
	list := func(took time.Duration, mib int64) listRound {
		return listRound{took: took * time.Millisecond, start: took * time.Millisecond / 10, usage: usage{cpu: took * time.Millisecond, peak: mib << 20}}
	}
	asked := trips{"TIME": 100, "EXISTS job, ZADD jobs": 700}
	return &httpReport{
		load: load{Clients: 50}, targets: 1000, names: kindRandom, cpus: 2, redisVersion: "Redis v=7",
		served:  []jobRound{job(1000, 10, 100, nil), job(3000, 20, 100, nil)},
		without: []jobRound{job(2000, 4, 50, asked), job(4000, 6, 50, asked)},
		reading: []jobRound{job(8000, 1, 10, nil), job(8000, 1, 10, nil)},
		lists: &lists{
			text: encodedList{
				bytes: 20 << 20, rounds: []listRound{list(500, 60), list(500, 60)}, reading: []listRound{list(50, 20), list(50, 20)},
			},
			packed: encodedList{
				bytes: 8 << 20, rounds: []listRound{list(1000, 64), list(1000, 66)}, reading: []listRound{list(100, 22), list(200, 22)},
			},
			send: []listRound{list(250, 40), list(500, 40)},
		},
		commands: []string{"bin/enqueue serve"},
	}
}

func TestJobTable(t *testing.T) {
	want := `
                                                 enqueue serve  without Redis      only reading
jobs a second                                             2000           3000              8000
  least-most                                         1000-3000      2000-4000         8000-8000
  / without Redis (least-most of the rounds)  0.62 (0.50-0.75)           1.00  3.00 (2.00-4.00)
latency ms, p50                                          15.00           5.00              1.00
  p99                                                    30.00          10.00              2.00
CPU microseconds a job, server                             500            250                50
  / without Redis                             2.00 (2.00-2.00)           1.00  0.20 (0.20-0.20)
  Redis                                                    200
peak of the server, MiB                                   40.0           40.0              40.0
Redis round trips of a job                                8.02           8.00
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), sampleHTTP().jobTable().String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTripTable(t *testing.T) {
	want := "  EXISTS job, ZADD jobs  7.00\n  TIME                   1.00\n"
	if diff := cmp.Diff(want, sampleHTTP().tripTable().String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestListTable(t *testing.T) {
	want := `
                                                     serve, text        serve, gzip  enqueue send
MiB of the list                                             20.0                8.0          20.0
seconds by the clock                                       0.500              1.000         0.375
  of these, until it is started                            0.050              0.100
names a second                                              2000               1000          3000
  / enqueue send (least-most of the rounds)     0.75 (0.50-1.00)   0.38 (0.25-0.50)          1.00
seconds to only read it                                    0.050              0.150
  taking it in / only reading                10.00 (10.00-10.00)  7.50 (5.00-10.00)
CPU seconds of the program                                 0.500              1.000         0.375
peak of the program, MiB                                    60.0               65.0          40.0
  of one that only reads                                    20.0               22.0
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), sampleHTTP().listTable().String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestHTTPReport(t *testing.T) {
	var text strings.Builder
	if err := sampleHTTP().write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"rounds: 2 (medians below); 2 CPUs; Redis v=7; without append-only file\n",
		"100 urgent jobs of one target, POST /v1/jobs from 50 clients",
		"Redis itself counts 8.02 reads and 24.00 commands for each job",
		"A list of 1000 names of 20 bytes, random (",
		"\n  bin/enqueue serve\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, &text)
		}
	}
}

func TestHTTPUsage(t *testing.T) {
	for args, want := range map[string]string{
		"http --jobs 0":     "--jobs",
		"http --clients -1": "--clients",
		"http --rounds 0":   "--rounds",
		"http --targets 0":  "--targets",
		"gateway":           "--listen",
	} {
		var out, errs strings.Builder
		code := run(strings.Fields(args), stdio{&out, &errs})
		if code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("bench %s: exit %d, %q; want 2 and %q", args, code, &errs, want)
		}
	}
}
