package settings

import (
	"bytes"
	"log"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// Log are the settings of what a program says of itself.
type Log struct {
	Level  string `name:"log-level" env:"LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
	Format string `name:"log-format" env:"LOG_FORMAT" default:"auto" help:"text or json; auto is text on a terminal, else json."`
}

// Logger returns a logger that writes to w, which is standard error.
func (l Log) Logger(f *Faults, w *os.File) *slog.Logger {
	format := f.OneOf("LOG_FORMAT", l.Format, "auto", "text", "json")
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.OneOf("LOG_LEVEL", l.Level, "debug", "info", "warn", "error"))); err != nil {
		return slog.New(slog.DiscardHandler) // a fault is noted: nothing will start
	}
	options := &slog.HandlerOptions{Level: level}
	if format == "text" || format == "auto" && term.IsTerminal(int(w.Fd())) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// TakeOver lets logger have what libraries write with package log: a line of
// another form would break whoever reads the lines of this process.
func TakeOver(logger *slog.Logger) {
	log.SetFlags(0)
	log.SetOutput(library{logger})
}

type library struct{ logger *slog.Logger }

// Write is what package log calls, for each line.
func (l library) Write(line []byte) (int, error) {
	l.logger.Warn("a library says", "text", string(bytes.TrimSpace(line)))
	return len(line), nil
}
