package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

func TestRows(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 2, 3)
		first, second := claimed(t, l, job), claimed(t, l, job)
		before := serverTime(t, client).Truncate(time.Millisecond)
		commit(t, second, Update{Index: []int32{0, 1}, Code: Lost, Attempts: 1, Detail: "timeout"})
		commit(t, first, Update{Index: []int32{1}, Code: Rejected, Attempts: 2, Detail: "a \"bad\"\nname\xff"})
		commit(t, second, Update{Index: []int32{0, 2}, Code: Sent, Attempts: 3, IDs: []string{"m0", "m\xff"}})
		commit(t, second, Update{Index: []int32{1}, Code: InFlight}) // not remembered
		got := rows(t, l, "j")
		after := serverTime(t, client)
		for i := range got {
			if at := got[i].At; i > 0 && (at.Before(before) || at.After(after)) {
				t.Errorf("row %d is of %v", i, at)
			}
			got[i].At = time.Time{}
		}
		want := []Row{
			{Target: "u0", Outcome: OutcomePending},
			{Target: "u1", Outcome: OutcomeFailed, Reason: "rejected", Detail: "a \"bad\"\nname\uFFFD", Attempts: 2},
			{Target: "u2", Outcome: OutcomeSent, Attempts: 3, MessageID: "m0"},
			{Target: "u3", Outcome: OutcomePending, Detail: "timeout", Attempts: 1},
			{Target: "u4", Outcome: OutcomeSent, Attempts: 3, MessageID: "m\uFFFD"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// A job is read one segment at a time: who stops early has not read the rest.
func TestRowsAreAStream(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		sealed(t, l, Spec{}, 1000, 1000, 1000)
		// Segment 2 cannot be read, which nobody notices before it is its turn.
		client.HDel(t.Context(), l.keys("j").names, "2")
		read := 0
		for row, err := range l.Rows(t.Context(), "j") {
			if err != nil {
				if read != 2000 || !errors.Is(err, ErrNotFound) {
					t.Errorf("after %d rows: %v", read, err)
				}
				break
			}
			if row.Target != fmt.Sprintf("u%d", read) {
				t.Fatalf("row %d is %q", read, row.Target)
			}
			read++
		}
		for _, err := range l.Rows(t.Context(), "j") {
			if read++; err != nil {
				t.Error(err)
			}
			break
		}
		if read != 2001 {
			t.Errorf("%d rows", read)
		}
	})
}

// A job whose retention passes while it is read ends in an error: rows that
// call its targets pending, or none at all, would be a lie.
func TestRowsOfAJobThatGoes(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		for name, gone := range map[string][]string{
			"all":            {"names", "out", "log", "job"},
			"all but names":  {"out", "log", "job"},
			"names so far":   {"names"},
			"the job so far": {"job"},
		} {
			id := strings.ReplaceAll(name, " ", "-")
			s := claimed(t, l, sealed(t, l, Spec{ID: id}, 1, 1))
			commit(t, s, to(Sent, 0))
			var got []error
			for row, err := range l.Rows(t.Context(), id) {
				if got = append(got, err); err == nil && row.Outcome != OutcomeSent {
					t.Errorf("%s: %+v", name, row)
				}
				for _, part := range gone {
					client.Del(t.Context(), "test:{"+id+"}:"+part)
				}
			}
			if len(got) != 2 || got[0] != nil || !errors.Is(got[1], ErrNotFound) {
				t.Errorf("%s: %v", name, got)
			}
		}
	})
}

func TestRowsReportsABrokenRecord(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		k := l.keys("j")
		sealed(t, l, Spec{}, 2)
		for _, log := range []string{"x []\n", "1 [\n", "1 [1]\n", `1 [["s",1,[2,1]]]` + "\n"} {
			client.HSet(t.Context(), k.log, "0", log)
			var last error
			for _, err := range l.Rows(t.Context(), "j") {
				last = err
			}
			if last == nil || errors.Is(last, ErrNotFound) {
				t.Errorf("log %q: %v", log, last)
			}
		}
		client.Del(t.Context(), k.names)
		client.Set(t.Context(), k.names, "no hash", 0)
		for _, err := range l.Rows(t.Context(), "j") {
			if err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("names of another type: %v", err)
			}
		}
	})
}

func TestLogKeepsEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Entry{
			Code:     rapid.SampledFrom([]Code{Lost, Sent, Rejected, AnswerLost}).Draw(t, "code"),
			Attempts: rapid.IntRange(0, 1<<30).Draw(t, "attempts"),
			Detail:   rapid.String().Draw(t, "detail"),
		}
		for at := int32(0); len(e.Index) == 0 || rapid.Bool().Draw(t, "more"); at++ {
			at += rapid.SampledFrom([]int32{0, 0, 1, 1000}).Draw(t, "gap")
			e.Index = append(e.Index, at)
		}
		if rapid.Bool().Draw(t, "ids") {
			for range e.Index {
				e.IDs = append(e.IDs, rapid.String().Draw(t, "id"))
			}
		}
		got, err := parseEntry(jsontext.Value(e.appendJSON(nil)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestParseEntryRefuses(t *testing.T) {
	for _, text := range []string{
		``, `{}`, `[]`, `["s"]x`, `["",1,[0,1]]`, `["st",1,[0,1]]`, `["s","1",[0,1]]`, `["s",1,[0]]`, `["s",1,{}]`, `["s",1,[0,1],7]`, `["s",1,[0,1],"",7]`,
	} {
		if e, err := parseEntry(jsontext.Value(text)); err == nil || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %+v, %v", text, e, err)
		}
	}
}

// What a small job leaves behind is in one key, and reads as it would from
// several. What is unknown may still be settled, and stays where that happens.
func TestSmallFinishedJob(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		for name, tt := range map[string]struct {
			updates []Update
			keys    int
		}{
			"sent":    {[]Update{{Index: []int32{0, 1}, Code: Sent, Attempts: 1}}, 1},
			"ids":     {[]Update{{Index: []int32{0}, Code: Sent, Attempts: 1, IDs: []string{"1"}}, {Index: []int32{1}, Code: Sent, Attempts: 2}}, 1},
			"failed":  {[]Update{{Index: []int32{0}, Code: Sent, Attempts: 1}, {Index: []int32{1}, Code: Rejected, Attempts: 3, Detail: "no"}}, 1},
			"unknown": {[]Update{{Index: []int32{0}, Code: Sent, Attempts: 1}, {Index: []int32{1}, Code: AnswerLost, Attempts: 1}}, 4},
			"detail":  {[]Update{{Index: []int32{0, 1}, Code: Rejected, Attempts: 1, Detail: strings.Repeat("x", 64)}}, 4},
		} {
			t.Run(name, func(t *testing.T) {
				job := sealed(t, l, Spec{ID: name, Urgent: true}, 2)
				s := claimed(t, l, job)
				commit(t, s, tt.updates...)
				release(t, s)
				if keys := must[[]string](t)(client.Keys(t.Context(), "*{"+name+"}*").Result()); len(keys) != tt.keys {
					t.Errorf("keys %q", keys)
				}
				finished := read(t, l, name).Finished
				got := rows(t, l, name)
				for _, u := range tt.updates {
					for _, i := range u.Index {
						want := Row{
							Target: got[i].Target, Outcome: u.Code.Outcome(), Reason: u.Code.Reason(),
							Detail: u.Detail, Attempts: u.Attempts, At: finished,
						}
						if u.IDs != nil {
							want.MessageID = u.IDs[0]
						}
						if got[i] != want || got[i].Target == "" {
							t.Errorf("%+v, want %+v", got[i], want)
						}
					}
				}
				counts(t, l, name)
			})
		}
	})
}
