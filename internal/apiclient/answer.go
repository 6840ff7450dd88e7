package apiclient

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Answer is what a 200 said. Every target of the call that is neither in Failed
// nor in Missing was accepted. Unknown users are accepted too (vendor page).
type Answer struct {
	// Failed are the targets with another value than "success" or a message id,
	// by rising index.
	Failed []TargetFailure
	// Missing are the indices, rising, of targets about which nothing was said.
	Missing []int
	// IDs are the message ids by index, "" where none was given; nil without
	// Config.MessageIDs.
	IDs []string
}

// TargetFailure is a target of the call that was refused while others passed.
type TargetFailure struct {
	Index int
	Text  string // what the answer said: a string's text or any other value as JSON, at most 1 KiB
}

// verdict is what was said about a target so far.
type verdict byte

const (
	unsaid verdict = iota
	accepted
	refused
)

// reader reads answers, one at a time; its memory is used again.
type reader struct {
	scanner
	table
	body     bytes.Buffer // the answer as it came in
	verdicts []verdict
	secret   string // masked in failures

	call   Call
	filled bool // the table has the targets of the call
	next   int  // index of the target that is expected next, and
	line   int  // where its line begins

	answer Answer
	source string // the answer as one string, which the message ids share
}

// read reads the body of a 200 and matches it to the call's targets. A target
// that is named more than once and refused once is refused.
func (r *reader) read(body []byte, call Call, ids bool) (Answer, error) {
	r.scanner, r.call = scanner{b: body}, call
	if !ids && r.allAccepted() {
		return Answer{}, nil
	}
	r.scanner = scanner{b: body}
	r.filled, r.next, r.line = false, 0, 0
	r.verdicts = slices.Grow(r.verdicts[:0], call.Count)[:call.Count]
	clear(r.verdicts)
	r.answer, r.source = Answer{}, ""
	if ids {
		r.answer.IDs = make([]string, call.Count)
		r.source = string(body)
	}
	found := false
	whole := r.object(func(name literal) bool {
		if string(name.plain()) != "data" {
			_, ok := r.value()
			return ok
		}
		found = true
		return r.object(r.target)
	}) && r.done()
	if !whole || !found {
		return Answer{}, whyUnreadable(body)
	}
	r.settle()
	return r.answer, nil
}

// target reads one pair of data. Names that are no target are passed over.
func (r *reader) target(name literal) bool {
	index := r.indexOf(name.plain())
	value, ok := r.value()
	if !ok || index < 0 || r.verdicts[index] == refused {
		return ok
	}
	said := value.plain()
	isID := digits(said) // also as a JSON number
	if !isID && string(said) != "success" {
		r.verdicts[index] = refused
		r.answer.Failed = append(r.answer.Failed, TargetFailure{index, cut(mask(string(said), r.secret), maxText)})
		if r.answer.IDs != nil {
			r.answer.IDs[index] = ""
		}
		return true
	}
	r.verdicts[index] = accepted
	if isID && r.answer.IDs != nil {
		r.answer.IDs[index] = r.source[value.start : value.start+len(value.raw)]
		if value.escaped {
			r.answer.IDs[index] = string(said)
		}
	}
	return true
}

// indexOf returns the index of the target called name, or -1. Answers are
// unordered by the vendor's word, but mostly come in the order of the call:
// then no target has to be looked up.
func (r *reader) indexOf(name []byte) int {
	if end := r.line + len(name); r.isLine(r.line, end) && bytes.Equal(r.call.Lines[r.line:end], name) && bytes.IndexByte(name, '\n') < 0 {
		r.next, r.line = r.next+1, end+1
		return r.next - 1
	}
	r.fillOnce()
	index := r.find(name)
	if index >= 0 {
		r.next, r.line = index+1, int(r.spans[index].end)+1
	}
	return index
}

// isLine reports whether a line of the call that begins at start ends at end.
func (r *reader) isLine(start, end int) bool {
	lines := r.call.Lines
	return start < end && (end == len(lines) || end < len(lines) && lines[end] == '\n')
}

func (r *reader) fillOnce() {
	if !r.filled {
		r.fill(r.call.Lines, r.call.Count)
		r.filled = true
	}
}

// allAccepted reports whether the body says "success" of each target once and
// nothing else, as nearly all do. It looks no target up: that the hashes of two
// lists of names have the same sum, and the lists differ, has a probability of
// 2^-64. Anything else, escapes included, it leaves to those who look closer.
func (r *reader) allAccepted() bool {
	found, count, sum := false, 0, uint64(0)
	whole := r.object(func(name literal) (ok bool) {
		if string(name.plain()) != "data" {
			_, ok = r.value()
			return ok
		}
		if found {
			return false
		}
		found = true
		count, sum, ok = r.successes()
		return ok
	}) && r.done()
	if !whole || count != r.call.Count || bytes.IndexByte(r.call.Lines, '\\') >= 0 { // what is written may not be what is meant
		return false
	}
	for lines := r.call.Lines; len(lines) > 0; {
		end := bytes.IndexByte(lines, '\n')
		if end < 0 {
			return sum == foldHash(lines)
		}
		sum -= foldHash(lines[:end])
		lines = lines[end+1:]
	}
	return sum == 0
}

// successes passes over an object of names, none of them with an escape, whose
// values are all "success", and sums up the hashes of the names.
func (r *reader) successes() (count int, sum uint64, ok bool) {
	ok = r.take('{') && r.take('"')
	for ok {
		rest := r.b[r.i:]
		end := bytes.IndexByte(rest, '"')
		if end < 0 {
			return 0, 0, false
		}
		count++
		sum += foldHash(rest[:end])
		r.i += end
		if r.pass(`":"success","`) {
			continue // without a space
		}
		ok = r.pass(`"`) && r.take(':') && r.at('"') && r.pass(`"success"`)
		if ok && !r.take(',') {
			return count, sum, r.take('}')
		}
		ok = ok && r.take('"')
	}
	return 0, 0, false
}

// pass passes over such a text, if it comes next.
func (s *scanner) pass(text string) bool {
	if len(s.b)-s.i < len(text) || string(s.b[s.i:s.i+len(text)]) != text {
		return false
	}
	s.i += len(text)
	return true
}

// settle gives targets that are named twice in the call the verdict of their
// first mention, and lists the missing.
func (r *reader) settle() {
	if !slices.Contains(r.verdicts, unsaid) && len(r.answer.Failed) == 0 {
		return
	}
	r.fillOnce() // which finds the twins
	for _, t := range r.twins {
		r.verdicts[t.again] = r.verdicts[t.first]
		if r.answer.IDs != nil {
			r.answer.IDs[t.again] = r.answer.IDs[t.first]
		}
		at := slices.IndexFunc(r.answer.Failed, func(f TargetFailure) bool { return f.Index == t.first })
		if at >= 0 {
			r.answer.Failed = append(r.answer.Failed, TargetFailure{t.again, r.answer.Failed[at].Text})
		}
	}
	slices.SortFunc(r.answer.Failed, func(a, b TargetFailure) int { return cmp.Compare(a.Index, b.Index) })
	for i, v := range r.verdicts {
		if v == unsaid {
			r.answer.Missing = append(r.answer.Missing, i)
		}
	}
}

func digits(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(text) > 0
}

// whyUnreadable says what is wrong with the body of a 200 that told nothing.
func whyUnreadable(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return errors.New("the answer is empty")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	return errors.New("the answer has no data object")
}
