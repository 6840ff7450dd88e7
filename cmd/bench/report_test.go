package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	same := func(n int64) int64 { return n }
	for _, c := range []struct {
		rounds []int64
		want   int64
	}{{[]int64{5}, 5}, {[]int64{9, 1, 4}, 4}, {[]int64{8, 2, 4, 100}, 6}} {
		if got := median(c.rounds, same); got != c.want {
			t.Errorf("median of %v: %d, want %d", c.rounds, got, c.want)
		}
	}
}

// sample is a report of two rounds with round figures.
func sample() *report {
	used := func(ms time.Duration, mib int64) usage { return usage{cpu: ms * time.Millisecond, peak: mib << 20} }
	round := func(load time.Duration) crierRound {
		return crierRound{
			enqueue: used(load, 50), worker: used(1000, 30), redis: used(500, 20),
			commands: 70, network: 3 << 19, waiting: 9_000, calls: 6, load: time.Second, delivery: 2 * time.Second,
		}
	}
	bare := bareRound{usage: used(250, 15), calls: 5, took: 600 * time.Millisecond}
	bare.atMost = true
	return &report{
		workers: 2, targets: 1000, names: kindRandom, cpus: 2, redisVersion: "Redis v=7",
		crier: []column{{"auto", []crierRound{round(500), round(1500)}}},
		bare:  []bareRound{bare, bare}, fewest: 5,
		urgent: urgentCost{jobs: 10, grown: 1000.4, keys: 4, bytes: 700},
		packed: 6_000, packer: "zstd -3", commands: []string{"bin/worker"},
	}
}

func TestTable(t *testing.T) {
	want := `
                                    Crier    bare loop
CHAT_QUOTA                           auto
CPU seconds, user and system
  enqueue                           1.000
  worker                            1.000
  redis                             0.500
  sum                               2.500        0.250
  sum, least-most             2.000-3.000  0.250-0.250
  sum / bare loop                   10.00         1.00
  of each round, least-most    8.00-12.00
peak resident memory, MiB
  enqueue                            50.0
  worker                             30.0
  redis                              20.0
  bare loop                                     <=15.0
Redis commands                         70
Redis network, MiB                    1.5
time by the clock, seconds
  loading                           1.000
  delivery                          2.000        0.600
calls                                   6            5
  / fewest possible (5)            1.2000
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), sample().table().String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestReport(t *testing.T) {
	var text strings.Builder
	if err := sample().write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1000 names of 20 bytes: random (",
		"workers: 2 (CPU of all together, memory of the largest); rounds: 2 (medians below); 2 CPUs; Redis v=7; without append-only file\n",
		"9.00 bytes a target",
		"zstd -3 makes 6.00 of the list: ratio 1.500",
		"1000 bytes (used_memory over 10 jobs); its own 4 keys take 700",
		"\n  bin/worker\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, &text)
		}
	}
}
