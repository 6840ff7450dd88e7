package main

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// counted is an API that knows what it is told.
type counted struct{ delivered, lost map[string]int }

func (c counted) Delivered(_ chatsim.TargetType, name string) int { return c.delivered[name] }
func (c counted) Lost(_ chatsim.TargetType, name string) int      { return c.lost[name] }

func (c counted) journal() iter.Seq2[chatsim.Key, int] {
	return func(yield func(chatsim.Key, int) bool) {
		for name, n := range c.delivered {
			if !yield(chatsim.Key{TargetType: chatsim.Users, Target: name}, n) {
				return
			}
		}
	}
}

// scene is a job of five targets with everything that is said of it: number 3
// is poison, number 4 refused, and the answer of number 1 was lost once.
type scene struct {
	job    job
	status status
	rows   []row
	api    counted
	doubt  int
	lossy  bool
}

func balanced() *scene {
	j := job{id: "b1", total: 5, poison: []int{3}, refuse: []int{4}}
	return &scene{
		job:    j,
		status: status{ID: "b1", State: "finished", Total: 5, Sent: 3, Failed: 2, Resent: 1},
		rows: []row{
			{j.name(0), "sent", ""},
			{j.name(1), "sent", ""},
			{j.name(2), "sent", ""},
			{j.name(3), "failed", "rejected"},
			{j.name(4), "failed", "rejected"},
		},
		api: counted{
			delivered: map[string]int{j.name(0): 1, j.name(1): 2, j.name(2): 1},
			lost:      map[string]int{j.name(1): 1},
		},
	}
}

// held is the same of a hold job, whose number 1 was not sent to again.
func (s *scene) held() {
	s.job.hold = true
	s.api.delivered[s.job.name(1)] = 1
	s.rows[1] = row{s.job.name(1), "unknown", "answer_lost"}
	s.status.Sent, s.status.Unknown, s.status.Resent = 2, 1, 0
}

func (s *scene) audit(t *testing.T) *books {
	t.Helper()
	b := newBooks(s.api, s.lossy)
	err := b.audit(s.job, s.status, func(yield func(row, error) bool) {
		for _, r := range s.rows {
			if !yield(r, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.strangers([]job{s.job}, s.api.journal())
	b.bound(s.doubt)
	return b
}

// Every kind of violation is found, and only that one.
func TestEveryViolationIsFound(t *testing.T) {
	name := balanced().job.name
	for what, tt := range map[string]struct {
		change func(*scene)
		want   map[violation]int
	}{
		"nothing wrong":          {func(*scene) {}, nil},
		"nothing wrong, hold":    {(*scene).held, nil},
		"resent, never arrived":  {func(s *scene) { s.api.delivered[name(1)] = 1 }, nil},
		"still running":          {func(s *scene) { s.status.State = "running" }, map[violation]int{notEnded: 1}},
		"pending":                {func(s *scene) { s.status.Pending, s.status.Sent, s.rows[0].Outcome = 1, 2, "pending" }, map[violation]int{notEnded: 1, notSettled: 1}},
		"cancelled":              {func(s *scene) { s.status.Cancelled, s.status.Sent, s.rows[0].Outcome = 1, 2, "cancelled" }, map[violation]int{notSettled: 1}},
		"total is another":       {func(s *scene) { s.status.Total = 6 }, map[violation]int{badSum: 1}},
		"counts do not sum up":   {func(s *scene) { s.status.Sent = 2 }, map[violation]int{badSum: 1, badCounts: 1}},
		"counts are not rows":    {func(s *scene) { s.status.Sent, s.status.Failed = 2, 3 }, map[violation]int{badCounts: 2}},
		"target of another job":  {func(s *scene) { s.rows[0].Target = "b2-000000" }, map[violation]int{foreign: 1, missing: 1}},
		"target beyond the list": {func(s *scene) { s.rows[0].Target = "b1-000005" }, map[violation]int{foreign: 1, missing: 1}},
		"name in another form":   {func(s *scene) { s.rows[0].Target = "b1-0" }, map[violation]int{foreign: 1, missing: 1}},
		"row twice":              {func(s *scene) { s.rows[2] = s.rows[0] }, map[violation]int{repeated: 1, missing: 1}},
		"row too many":           {func(s *scene) { s.rows = append(s.rows, s.rows[0]) }, map[violation]int{repeated: 1, badCounts: 1}},
		"row missing":            {func(s *scene) { s.rows = s.rows[1:] }, map[violation]int{missing: 1, badCounts: 1}},
		"sent, not delivered":    {func(s *scene) { delete(s.api.delivered, name(0)) }, map[violation]int{notSent: 1}},
		"failed, delivered":      {func(s *scene) { s.api.delivered[name(3)] = 1 }, map[violation]int{deliveredTo: 1}},
		"good one failed": {func(s *scene) {
			s.rows[0].Outcome, s.status.Sent, s.status.Failed = "failed", 2, 3
			delete(s.api.delivered, name(0))
		}, map[violation]int{failedGood: 1}},
		"bad one sent": {func(s *scene) { s.rows[4].Outcome, s.status.Sent, s.status.Failed = "sent", 4, 1 }, map[violation]int{takenBad: 1, notSent: 1}},
		"unknown where it is sent again": {func(s *scene) {
			s.rows[0].Outcome, s.status.Sent, s.status.Unknown = "unknown", 2, 1
		}, map[violation]int{unknownHere: 1}},
		"hold, sent twice":    {func(s *scene) { s.held(); s.api.delivered[name(0)], s.api.lost[name(0)] = 2, 1 }, map[violation]int{heldTwice: 1}},
		"hold, unknown twice": {func(s *scene) { s.held(); s.api.delivered[name(1)] = 2 }, map[violation]int{heldTwice: 1}},
		"twice, not told":     {func(s *scene) { s.status.Resent = 0 }, map[violation]int{notTold: 1}},
		"twice, no cause":     {func(s *scene) { delete(s.api.lost, name(1)) }, map[violation]int{noCause: 1}},
		"twice, a calamity":   {func(s *scene) { delete(s.api.lost, name(1)); s.doubt = 1 }, nil},
		"thrice, lost once": {func(s *scene) {
			s.api.delivered[name(1)], s.status.Resent = 3, 2
		}, map[violation]int{noCause: 1}},
		"stranger": {func(s *scene) { s.api.delivered["b2-000000"] = 2 }, map[violation]int{stranger: 2}},
		"everysec": {func(s *scene) { s.lossy, s.status.Resent = true, 0; delete(s.api.lost, name(1)) }, nil},
		"everysec, sent, not delivered": {func(s *scene) {
			s.lossy = true
			delete(s.api.delivered, name(0))
		}, map[violation]int{notSent: 1}},
	} {
		t.Run(what, func(t *testing.T) {
			s := balanced()
			s.api.delivered, s.api.lost = maps.Clone(s.api.delivered), maps.Clone(s.api.lost)
			tt.change(s)
			b := s.audit(t)
			want := tt.want
			if want == nil {
				want = map[violation]int{}
			}
			if diff := cmp.Diff(want, b.counts); diff != "" {
				t.Errorf("violations (-want +got):\n%s%s", diff, b)
			}
			for v := range want {
				if text := b.String(); !strings.Contains(text, string(v)) {
					t.Errorf("the report does not name %q:\n%s", v, text)
				}
			}
		})
	}
}

func TestFaultsOutsideTheBooksCount(t *testing.T) {
	b := balanced().audit(t)
	if b.violations() != 0 {
		t.Fatal(b)
	}
	b.faults = append(b.faults, errors.New("worker ended with exit status 2"))
	if b.violations() != 1 || !strings.Contains(b.String(), "exit status 2") {
		t.Errorf("%d violations:\n%s", b.violations(), b)
	}
}

func TestReadRows(t *testing.T) {
	rows := readRows(strings.NewReader(`{"target":"a","outcome":"sent","reason":"","detail":"","attempts":1}` + "\n" +
		`{"target":"b","outcome":"failed","reason":"rejected"}` + "\n" + `{"target":`))
	var got []string
	for r, err := range rows {
		got = append(got, fmt.Sprint(r, err != nil))
	}
	if diff := cmp.Diff([]string{"{a sent } false", "{b failed rejected} false", "{  } true"}, got); diff != "" {
		t.Error(diff)
	}
}
