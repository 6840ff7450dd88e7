package targets

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"testing"
)

func benchmarkList(format Format) []byte {
	var list bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&list, "campaign_user_%06d", i)
		if format == CSV {
			list.WriteString(",Anna,3")
		}
		list.WriteByte('\n')
	}
	return list.Bytes()
}

func benchmarkReader(b *testing.B, format Format) {
	list := benchmarkList(format)
	b.SetBytes(int64(len(list)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(list), format, Options{Kind: Users})
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, _, err = r.Next()
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}

func BenchmarkText(b *testing.B) { benchmarkReader(b, Text) }
func BenchmarkCSV(b *testing.B)  { benchmarkReader(b, CSV) }

// BenchmarkScanner is what the standard library takes to find the lines alone.
func BenchmarkScanner(b *testing.B) {
	list := benchmarkList(Text)
	b.SetBytes(int64(len(list)))
	b.ReportAllocs()
	for b.Loop() {
		lines := bufio.NewScanner(bytes.NewReader(list))
		for lines.Scan() {
		}
		if err := lines.Err(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodingCSV is what encoding/csv takes by itself.
func BenchmarkEncodingCSV(b *testing.B) {
	list := benchmarkList(CSV)
	b.SetBytes(int64(len(list)))
	b.ReportAllocs()
	for b.Loop() {
		rows := csv.NewReader(bytes.NewReader(list))
		rows.ReuseRecord = true
		var err error
		for err == nil {
			_, err = rows.Read()
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}
