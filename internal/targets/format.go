package targets

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Format is how a list is written.
type Format string

// The formats. All take lines ended by LF or CRLF, a leading UTF-8 byte order
// mark, blank lines, and white space around a name.
const (
	Text   Format = "txt"    // one name a line
	CSV    Format = "csv"    // RFC 4180, see Options.Column
	NDJSON Format = "ndjson" // a JSON string, integer or object a line, see Options.Column
)

// extensions are the file names' endings by which Open knows a format. Each may
// be followed by packedExtension.
var extensions = []struct {
	ext    string
	format Format
}{
	{".txt", Text},
	{".csv", CSV},
	{".ndjson", NDJSON},
	{".jsonl", NDJSON},
}

const packedExtension = ".gz"

// formatOf tells by the name of a file how its list is written, and whether it
// is packed with gzip.
func formatOf(path string) (format Format, packed bool, err error) {
	ext := filepath.Ext(path)
	whole := ext
	if packed = strings.EqualFold(ext, packedExtension); packed {
		ext = filepath.Ext(path[:len(path)-len(ext)])
		whole = ext + whole
	}
	known := make([]string, len(extensions))
	for i, e := range extensions {
		if strings.EqualFold(ext, e.ext) {
			return e.format, packed, nil
		}
		known[i] = e.ext
	}
	return "", false, fmt.Errorf("targets: %s: unknown extension %q (known: %s, each also with %s; - is standard input)",
		path, whole, strings.Join(known, ", "), packedExtension)
}
