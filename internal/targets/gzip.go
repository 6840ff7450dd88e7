package targets

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// gzipMagic is how gzip data begin. No list begins so: neither byte is text.
var gzipMagic = []byte("\x1f\x8b")

// gunzip unpacks gzip data of one or more members. It ends with io.EOF only
// behind a whole member whose checksum is right and which nothing follows. It
// opens the members by itself, since gzip.Reader takes the end of the data
// within the header of a further member for a proper one.
type gunzip struct {
	packed  *bufio.Reader
	member  gzip.Reader
	within  bool // a member
	members int
	failed  error // the end, or what broke the data: who asks again is told the same
}

func (g *gunzip) Read(p []byte) (n int, err error) {
	for n == 0 && g.failed == nil {
		if !g.within {
			g.failed = g.open()
			continue
		}
		n, err = g.member.Read(p)
		if err == io.EOF { //nolint:errorlint // of the member; what wraps io.EOF is a break
			g.within, err = false, nil
		}
		g.failed = gzipError(err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, g.failed
}

// open goes on to the next member, or gives io.EOF behind the last.
func (g *gunzip) open() error {
	head, err := g.packed.Peek(len(gzipMagic))
	switch {
	case len(head) == 0 && err != io.EOF:
		return err
	case len(head) == 0 && g.members > 0:
		return io.EOF
	case !bytes.HasPrefix(gzipMagic, head) && g.members > 0:
		return errors.New("the gzip data are followed by something else")
	case !bytes.HasPrefix(gzipMagic, head):
		return errors.New("the list is not gzip data")
	}
	if err := g.member.Reset(g.packed); err != nil {
		return gzipError(err)
	}
	g.member.Multistream(false)
	g.within = true
	g.members++
	return nil
}

// gzipError calls faults of the data by their name. Those of the stream that the
// data come from stay as they are.
func gzipError(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF): //nolint:errorlint // as in Read
		return fmt.Errorf("the gzip data are cut off: %w", io.ErrUnexpectedEOF)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, &corrupt):
		return fmt.Errorf("the gzip data are damaged: %w", err)
	}
	return err
}
