package ledger

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Entry is one line of the journal of a segment: these targets got this code.
// Everything a result row says beyond the outcome stands here.
type Entry struct {
	Code     Code
	Attempts int       // calls these targets have been in, this one included; -1-n = n more than each had before
	Index    []int32   // targets, ascending
	Detail   string    // the API's or the network's own words, at most 1 KiB
	IDs      []string  // the vendor's message ids in the order of Index; nil where not kept
	At       time.Time // by Redis's clock, ms
}

// appendJSON writes e as ["s",1,[0,230],"detail",["id",...]]; runs are pairs of
// index and length, what is empty at the end is left out.
// What is no UTF-8 in texts of others is replaced: one bad byte must not make
// a whole segment's journal unreadable.
func (e Entry) appendJSON(dst []byte) []byte {
	dst = append(dst, '[', '"', byte(e.Code), '"', ',')
	dst = strconv.AppendInt(dst, int64(e.Attempts), 10)
	dst = append(dst, ',', '[')
	for from, n := range runs(e.Index) {
		dst = strconv.AppendInt(dst, int64(from), 10)
		dst = append(dst, ',')
		dst = strconv.AppendInt(dst, int64(n), 10)
		dst = append(dst, ',')
	}
	dst[len(dst)-1] = ']'
	if e.Detail != "" || len(e.IDs) > 0 {
		dst = appendText(append(dst, ','), e.Detail)
	}
	if len(e.IDs) > 0 {
		dst = append(dst, ',', '[')
		for _, id := range e.IDs {
			dst = append(appendText(dst, id), ',')
		}
		dst[len(dst)-1] = ']'
	}
	return append(dst, ']')
}

func appendText(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text) // its only error is that it has replaced what is no UTF-8
	return dst
}

// runs yields the runs of consecutive numbers in an ascending index.
func runs(index []int32) iter.Seq2[int32, int32] {
	return func(yield func(from, n int32) bool) {
		for at := 0; at < len(index); {
			end := at + 1
			for end < len(index) && index[end] == index[end-1]+1 {
				end++
			}
			if !yield(index[at], int32(end-at)) {
				return
			}
			at = end
		}
	}
}

// indexes yields the entry's targets that lie within a segment of count.
func (e Entry) indexes(count int) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for _, i := range e.Index {
			if i < 0 || int(i) >= count || !yield(i) {
				return
			}
		}
	}
}

// readLog calls visit for each entry of a segment's journal, oldest first.
func readLog(log string, visit func(Entry) error) error {
	for line := range strings.Lines(log) {
		stamp, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		ms, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil {
			return fmt.Errorf("ledger: log: %w", err)
		}
		var entries []jsontext.Value
		if err := json.Unmarshal([]byte(text), &entries); err != nil {
			return fmt.Errorf("ledger: log: %w", err)
		}
		for _, raw := range entries {
			e, err := parseEntry(raw)
			if err != nil {
				return err
			}
			e.At = time.UnixMilli(ms).UTC()
			if err := visit(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func parseEntry(raw jsontext.Value) (Entry, error) {
	var code string
	var pairs []int32
	var e Entry
	var parts []jsontext.Value
	err := json.Unmarshal(raw, &parts)
	for i, into := range []any{&code, &e.Attempts, &pairs, &e.Detail, &e.IDs} {
		if err == nil && i < len(parts) {
			err = json.Unmarshal(parts[i], into)
		}
	}
	if err != nil {
		return Entry{}, fmt.Errorf("ledger: log entry %.100s: %w", raw, err)
	}
	if len(code) != 1 || len(pairs)%2 != 0 {
		return Entry{}, fmt.Errorf("ledger: log entry %.100s: malformed", raw)
	}
	e.Code = Code(code[0])
	for i := 0; i < len(pairs); i += 2 {
		for n := range pairs[i+1] {
			e.Index = append(e.Index, pairs[i]+n)
		}
	}
	return e, nil
}

// attempts is how many calls a target has been in that had been in so many before.
func (e Entry) attempts(before int) int {
	if e.Attempts < 0 {
		return before - 1 - e.Attempts
	}
	return e.Attempts
}

// Try is what is known of a target's earlier attempts.
type Try struct {
	Attempts   int           // calls it has been in that count as attempts
	LastFailed time.Time     // when the newest of them failed; zero: none has
	Waited     time.Duration // between them, for its own next attempt: see LongestWait
}

// LongestWait is how long a target waits at most for its own next attempt after
// so many have failed. What goes beyond was for other causes, such as a quota, a
// hold, a pause, or nobody there to send it: it does not count as Try.Waited.
func LongestWait(attempts int) time.Duration {
	return min(firstWait<<min(max(attempts, 1)-1, 16), longestWait)
}

// Waited is what counts of the time since the last of so many failed attempts; by
// clocks that differ, it may be negative.
func Waited(attempts int, since time.Duration) time.Duration {
	return min(max(since, 0), LongestWait(attempts))
}

const (
	firstWait   = 500 * time.Millisecond
	longestWait = 30 * time.Second
)

func (t *Try) add(e Entry) {
	if !e.Code.final() {
		if !t.LastFailed.IsZero() {
			t.Waited += Waited(t.Attempts, e.At.Sub(t.LastFailed))
		}
		t.LastFailed = e.At
	}
	t.Attempts = e.attempts(t.Attempts)
}
