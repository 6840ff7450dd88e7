package ledger

import (
	"bytes"
	"fmt"
)

// segmenter packs a list of targets, segment by segment, and names the segments.
type segmenter struct {
	packer *packer
	first  int      // number of the first segment
	total  int      // targets of the job up to here, those before the first segment included
	names  []string // of segments
	layout layout   // in which segments of this list get smallest
	last   []byte   // packed names of the newest segment, nil where it is staged
}

// bestHolds is for how many segments the layout is kept that was best for the
// first of them.
const bestHolds = 32

// add packs one more segment, which takes the place of the last one.
func (s *segmenter) add(lines []byte, count int) {
	if len(s.names)%bestHolds == 0 {
		s.layout = s.packer.best(lines)
	}
	s.last = s.packer.pack(s.layout, lines)
	s.names = append(s.names, segmentName(s.first+len(s.names), s.total, count))
	s.total += count
}

// lastNumber is that of the newest segment.
func (s *segmenter) lastNumber() int { return s.first + len(s.names) - 1 }

// checkLines makes sure that a segment has as many targets as it says.
func checkLines(lines []byte, count int) error {
	if got := bytes.Count(lines, newline); got != count || count == 0 || lines[len(lines)-1] != '\n' {
		return fmt.Errorf("a segment of %d targets has %d lines", count, got)
	}
	return nil
}
