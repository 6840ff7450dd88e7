package checks

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"crier/internal/procs"
)

// end brings all jobs to their end.
func (f *fleet) end() {
	f.t.Helper()
	for _, id := range []string{"campaign", "later", "paused", "loading"} {
		if status, text := f.call(http.MethodPost, "/v1/jobs/"+id+"/cancel", ""); status != http.StatusOK && status != http.StatusConflict { // it has ended
			f.t.Errorf("cancel %s: %d %s", id, status, text)
		}
	}
	f.eventually("all jobs end", ending, func() bool {
		return !slices.ContainsFunc(f.jobs(), func(j job) bool { return !j.ended() })
	})
}

// booksAgree compares what the metrics count with what the ledger counts, and
// what they count twice.
func (f *fleet) booksAgree() {
	f.t.Helper()
	ledger := map[string]int{}
	jobs, urgent := f.jobs(), 0
	for _, j := range jobs {
		if j.Priority == "urgent" {
			urgent += j.Sent
		}
		for outcome, n := range map[string]int{"sent": j.Sent, "failed": j.Failed, "unknown": j.Unknown, "cancelled": j.Cancelled} {
			ledger[j.TargetType+" "+outcome] += n
		}
	}
	var told string
	f.eventuallyOr("the metrics count what the ledger counts", &told, func() bool {
		counted := map[string]int{}
		for pair, n := range f.sums("crier_targets_total", "target_type", "outcome") {
			counted[pair] = int(n)
		}
		told = fmt.Sprintf("ledger %v\nmetrics %v", ledger, counted)
		return maps.Equal(ledger, counted)
	})
	f.eventuallyOr("numbers that count the same are the same", &told, func() bool {
		told = ""
		same := func(what string, a, b float64) {
			if a != b {
				told += fmt.Sprintf("%s: %v and %v\n", what, a, b)
			}
		}
		requests := f.sums("crier_chat_requests_total", "endpoint", "code")
		calls, batches := total(requests, "messages"), f.sums("crier_batches_total", "result")
		same("requests and what the API has counted", calls, float64(f.sim.Stats().Calls))
		same("requests and their times", calls, f.counts("crier_chat_request_duration_seconds", "endpoint")["messages"])
		calls -= requests["messages 401"] - batches["unauthorized"] // made again at once, with another token
		same("calls and their results", calls, total(batches, "")-batches["no_token"]-batches["not_made"])
		same("calls and their targets", calls, f.counts("crier_batch_targets")[""])
		same("calls and their bytes", calls, f.counts("crier_batch_bytes")[""])
		same("refused calls and those of that result", total(f.sums("crier_throttled_total", "kind"), ""), batches["throttled"])
		same("urgent calls and urgent targets that were sent", f.counts("crier_urgent_latency_seconds")[""], float64(urgent))
		same("jobs and their times", total(f.counts("crier_job_duration_seconds", "priority"), ""), float64(len(jobs)))
		return told == ""
	})
}

// eventuallyOr waits until a condition holds, and goes on if it never does, with
// what was wrong.
func (f *fleet) eventuallyOr(what string, told *string, holds func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(settling); !holds(); {
		if time.Now().After(deadline) {
			f.t.Errorf("it should be that %s:\n%s", what, *told)
			return
		}
		if err := procs.Pause(f.t.Context(), 200*time.Millisecond); err != nil {
			f.t.Fatal(err)
		}
	}
}

// sums adds up a counter of all processes, by these labels.
func (f *fleet) sums(name string, labels ...string) map[string]float64 {
	f.t.Helper()
	return f.added(name, labels, func(m *dto.Metric) float64 { return m.GetCounter().GetValue() })
}

// counts adds up how often a histogram was told something.
func (f *fleet) counts(name string, labels ...string) map[string]float64 {
	f.t.Helper()
	return f.added(name, labels, func(m *dto.Metric) float64 { return float64(m.GetHistogram().GetSampleCount()) })
}

func (f *fleet) added(name string, labels []string, value func(*dto.Metric) float64) map[string]float64 {
	f.t.Helper()
	sums := map[string]float64{}
	for _, families := range f.scrape() {
		for _, m := range families[name].GetMetric() {
			var key []string
			for _, label := range labels {
				for _, l := range m.GetLabel() {
					if l.GetName() == label {
						key = append(key, l.GetValue())
					}
				}
			}
			sums[strings.Join(key, " ")] += value(m)
		}
	}
	return sums
}

// total adds up those whose key begins so.
func total(sums map[string]float64, prefix string) (n float64) {
	for key, value := range sums {
		if strings.HasPrefix(key, prefix) {
			n += value
		}
	}
	return n
}
