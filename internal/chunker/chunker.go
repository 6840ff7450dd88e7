// Package chunker cuts a list of targets into batches, each the targets of one
// call to the Chat API.
//
// Invariant: batches joined are the input, in order; a batch holds at most
// Limits.MaxTargets targets and its encoded body at most Limits.MaxBytes
// bytes, to the byte; and no other order-keeping cut needs fewer batches.
//
// It knows nothing of messages, files or networks: what stands around the list
// in the body is a number of bytes to it (Limits.Overhead), so the unified and
// the split form of the API are the same thing here.
package chunker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bound one batch.
type Limits struct {
	MaxTargets int // targets of one batch, at least 1
	MaxBytes   int // bytes of the whole encoded body
	Overhead   int // bytes of the body that are not the list: all but `"a","b"` itself
}

// Validate reports limits within which no target could ever be sent.
func (l Limits) Validate() error {
	var errs []error
	if l.MaxTargets < 1 {
		errs = append(errs, fmt.Errorf("chunker: at most %d targets in a batch: must be at least 1", l.MaxTargets))
	}
	if l.room() < len(`""`) {
		errs = append(errs, fmt.Errorf("chunker: %d of %d bytes are taken before the first target", l.Overhead, l.MaxBytes))
	}
	return errors.Join(errs...)
}

// room is the bytes left for the encoded list.
func (l Limits) room() int { return l.MaxBytes - l.Overhead }

// TargetError says that a target can be in no batch at all.
type TargetError struct {
	Target string
	Reason string
}

func (e *TargetError) Error() string {
	return fmt.Sprintf("chunker: target %.80q %s", e.Target, e.Reason)
}

// Batch is the targets of one call.
type Batch struct {
	// Lines are the targets, each ended by a newline. It shares the memory of the input.
	Lines []byte
	// Count is the number of targets, at least 1.
	Count int
	// Bytes is the length of the encoded list, without what stands around it.
	Bytes int

	plain bool // no target needs an escape
}

// Next cuts the longest batch that fits off the front of lines (targets, each
// ended by a newline; a target itself holds none) and returns what is left.
// It allocates nothing and looks no further than one batch ahead. lines must
// not be empty. A target that fits no batch alone, or is no UTF-8, is a
// *TargetError that names it.
func (l Limits) Next(lines []byte) (b Batch, rest []byte, err error) {
	// Encoded, a target is longer than its line, so no batch reaches past
	// the window: two quotes and a comma against one newline.
	window := lines[:min(len(lines), l.room()+1)]
	if plain(window) {
		b = l.nextPlain(lines, window)
	} else if b, err = l.nextQuoted(lines); err != nil {
		return Batch{}, lines, err
	}
	if b.Count == 0 {
		target, _, _ := bytes.Cut(lines, newline)
		return Batch{}, lines, &TargetError{
			Target: string(target),
			Reason: fmt.Sprintf("does not fit a body of %d bytes of which %d are taken by the message", l.MaxBytes, l.Overhead),
		}
	}
	return b, lines[len(b.Lines):], nil
}

// nextPlain cuts where no target needs an escape: then sizes follow from lengths.
func (l Limits) nextPlain(lines, window []byte) Batch {
	count, size, end := 0, -1, 0 // the first target has no comma before it
	for count < l.MaxTargets {
		n := bytes.IndexByte(window[end:], '\n')
		if n < 0 || size+n+len(`,""`) > l.room() {
			break
		}
		size += n + len(`,""`)
		end += n + 1
		count++
	}
	return Batch{Lines: lines[:end], Count: count, Bytes: size, plain: true}
}

// nextQuoted cuts by really encoding each target.
func (l Limits) nextQuoted(lines []byte) (Batch, error) {
	var scratch []byte
	count, size, end := 0, -1, 0
	for count < l.MaxTargets && end < len(lines) {
		target, _, _ := bytes.Cut(lines[end:], newline)
		if len(target) > l.room() { // too long to be worth encoding
			break
		}
		var err error
		if scratch, err = jsontext.AppendQuote(scratch[:0], target); err != nil {
			if count > 0 {
				break // the batch before it is whole; the target is named at its own turn
			}
			return Batch{}, &TargetError{Target: string(target), Reason: "is not valid UTF-8"}
		}
		if size+1+len(scratch) > l.room() {
			break
		}
		size += 1 + len(scratch)
		end += len(target) + 1
		count++
	}
	return Batch{Lines: lines[:end], Count: count, Bytes: size}, nil
}

// AppendList appends the encoded list to dst, `"a","b"`: JSON strings with no
// more escapes than JSON demands, UTF-8 as it is. It appends exactly b.Bytes bytes.
func (b Batch) AppendList(dst []byte) []byte {
	if b.plain {
		return b.appendPlain(dst)
	}
	for lines := b.Lines; len(lines) > 0; {
		target, rest, _ := bytes.Cut(lines, newline)
		// Next has encoded the same bytes before: it cannot fail here.
		dst, _ = jsontext.AppendQuote(dst, target)
		if lines = rest; len(lines) > 0 {
			dst = append(dst, ',')
		}
	}
	return dst
}

func (b Batch) appendPlain(dst []byte) []byte {
	dst = slices.Grow(dst, b.Bytes+1)
	at := len(dst)
	list := dst[:at+b.Bytes+1] // one more: a comma follows each target, the last one's is cut off
	for lines := b.Lines; len(lines) > 0; {
		n := bytes.IndexByte(lines, '\n')
		list[at] = '"'
		at += 1 + copy(list[at+1:], lines[:n])
		list[at], list[at+1] = '"', ','
		at += 2
		lines = lines[n+1:]
	}
	return list[:at-1]
}

var newline = []byte{'\n'}

// plain reports whether every byte of p stands for itself in a JSON string or
// is a newline: ASCII, no control character, no quote, no backslash. It may
// say false of text that is plain, never true of text that is not.
func plain(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if !plainWord(binary.LittleEndian.Uint64(p)) {
			return false
		}
	}
	var tail [8]byte
	copy(tail[:], "aaaaaaaa")
	copy(tail[:], p)
	return plainWord(binary.LittleEndian.Uint64(tail[:]))
}

// plainWord looks at eight bytes at once. With all high bits clear, adding to
// a byte never carries into the next, so each high bit of a sum is a verdict
// on one byte.
func plainWord(w uint64) bool {
	const (
		each = 0x0101010101010101
		high = each * 0x80
		low7 = each * 0x7f
	)
	if w&high != 0 {
		return false
	}
	printable := w + each*(0x80-' ')           // byte >= space
	notNewline := (w ^ each*'\n') + low7       // byte != newline
	notQuote := (w ^ each*'"') + low7          // byte != quote
	notBackslash := (w ^ each*'\\') + low7     // byte != backslash
	ok := (printable | ^notNewline) & notQuote // newline is the one control character let through
	return ok&notBackslash&high == high
}
