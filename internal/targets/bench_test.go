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

func benchmarkList(line string) []byte {
	var list bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&list, line, i)
	}
	return list.Bytes()
}

func benchmarkReader(b *testing.B, format Format, list []byte) {
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

const (
	textLine = "campaign_user_%06d\n"
	csvLine  = "campaign_user_%06d,Anna,3\n"
)

func BenchmarkText(b *testing.B) { benchmarkReader(b, Text, benchmarkList(textLine)) }

func BenchmarkCSV(b *testing.B) { benchmarkReader(b, CSV, benchmarkList(csvLine)) }

func BenchmarkStrings(b *testing.B) {
	benchmarkReader(b, NDJSON, benchmarkList(`"campaign_user_%06d"`+"\n"))
}

func BenchmarkObjects(b *testing.B) {
	benchmarkReader(b, NDJSON, benchmarkList(`{"id":"campaign_user_%06d","name":"Anna"}`+"\n"))
}

func BenchmarkGzip(b *testing.B) {
	benchmarkReader(b, Text, []byte(pack(string(benchmarkList(textLine)))))
}

// BenchmarkScanner is what the standard library takes to find the lines alone.
func BenchmarkScanner(b *testing.B) {
	list := benchmarkList(textLine)
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
	list := benchmarkList(csvLine)
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
