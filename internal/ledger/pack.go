package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// packer makes the names of a segment small: by zstd, mostly of their columns,
// which are all first characters, then all second ones, and so on. Where names
// are much alike, a column is much more so, and it gets smaller, at less cost,
// than the whole list would at once. Where names of several kinds are mixed,
// lines as they are get smaller.
type packer struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	scratch sync.Pool // of *[]byte: the columns of one segment
}

// What is packed begins with one byte that says how.
const (
	packedColumns = 'c' // the number of lines as a varint, then columns under zstd
	packedRaw     = 'r' // as it is: a few names do not get smaller
	packedLines   = 'l' // under zstd
)

// maxSegmentBytes bounds what one segment may unpack to; writers stay far below.
const maxSegmentBytes = 64 << 20

func newPacker() (*packer, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false),
		zstd.WithAllLitEntropyCompression(true)) // else random names would be stored as they are
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxSegmentBytes))
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return &packer{encoder: encoder, decoder: decoder, scratch: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

// layout is one of packedColumns and packedLines.
type layout byte

// best is the layout in which such lines get smallest.
func (p *packer) best(lines []byte) layout {
	const few = 4 << 10 // bytes, of which nothing is to be gained
	if len(lines) < few || len(p.pack(packedLines, lines)) < len(p.pack(packedColumns, lines)) {
		return packedLines
	}
	return packedColumns
}

// pack packs lines, each ended by a newline. Under packedLines it may be any
// text.
func (p *packer) pack(as layout, lines []byte) []byte {
	if len(lines) > maxSegmentBytes { // more than unpack would make of it
		return append([]byte{packedRaw}, lines...)
	}
	packed := []byte{byte(as)}
	if as == packedColumns {
		packed = binary.AppendUvarint(packed, uint64(bytes.Count(lines, newline)))
		packed = p.encoder.EncodeAll(columns(lines), packed)
	} else {
		packed = p.encoder.EncodeAll(lines, packed)
	}
	if len(packed) > len(lines) {
		packed = append(append(packed[:0], packedRaw), lines...)
	}
	return packed
}

// unpack returns what was packed.
func (p *packer) unpack(packed []byte) ([]byte, error) {
	if len(packed) == 0 {
		return nil, errors.New("ledger: a segment has no names")
	}
	switch packed[0] {
	case packedRaw:
		return packed[1:], nil
	case packedLines:
		return p.decoder.DecodeAll(packed[1:], nil)
	}
	count, n := binary.Uvarint(packed[1:])
	if n <= 0 || count > maxSegmentBytes {
		return nil, errors.New("ledger: a segment does not say how many names it has")
	}
	scratch := p.scratch.Get().(*[]byte)
	defer p.scratch.Put(scratch)
	text, err := p.decoder.DecodeAll(packed[1+n:], (*scratch)[:0])
	if err != nil {
		return nil, fmt.Errorf("ledger: segment: %w", err)
	}
	*scratch = text
	return lineUp(text, int(count))
}

// columns lays lines out by columns. A line's newline is its last character,
// and a line has no part in the columns behind it.
func columns(lines []byte) []byte {
	var lengths []int // of a line -> how many there are
	for line := range bytes.Lines(lines) {
		for len(lengths) <= len(line) {
			lengths = append(lengths, 0)
		}
		lengths[len(line)]++
	}
	next := make([]int, len(lengths)) // where the next character of each column goes
	for c, n := 0, bytes.Count(lines, newline); c+1 < len(next); c++ {
		n -= lengths[c]
		next[c+1] = next[c] + n
	}
	text := make([]byte, len(lines))
	for line := range bytes.Lines(lines) {
		for c, char := range line {
			text[next[c]] = char
			next[c]++
		}
	}
	return text
}

// lineUp turns columns back into count lines.
func lineUp(text []byte, count int) ([]byte, error) {
	var next []int // where the next character of each column stands
	for at, n := 0, count; n > 0; {
		if n > len(text)-at {
			return nil, errors.New("ledger: a segment's names end too early")
		}
		next = append(next, at)
		at += n
		n -= bytes.Count(text[at-n:at], newline)
	}
	lines := make([]byte, 0, len(text))
	for range count {
		for c := 0; ; c++ {
			char := text[next[c]]
			next[c]++
			if lines = append(lines, char); char == '\n' {
				break
			}
		}
	}
	if len(lines) != len(text) {
		return nil, errors.New("ledger: a segment holds more names than it should")
	}
	return lines, nil
}

var newline = []byte{'\n'}
