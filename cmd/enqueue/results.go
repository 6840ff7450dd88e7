package main

import (
	"context"

	"crier/internal/ledger"
	"crier/internal/tasks"
)

type resultsCommand struct {
	ID      string  `arg:"" help:"The job's id."`
	Outcome *string `placeholder:"LIST" help:"Only targets with these outcomes: pending, sent, failed, unknown, cancelled."`
	Format  string  `default:"csv" help:"csv or ndjson."`
}

// Run lists what became of each target.
func (c *resultsCommand) Run(ctx context.Context, a *app) error {
	wanted, err := outcomes(c.Outcome, ledger.Outcomes())
	if err != nil {
		return err
	}
	format := tasks.ResultFormat(c.Format)
	if format != tasks.ResultsCSV && format != tasks.ResultsNDJSON {
		return usage("--format: %q is neither csv nor ndjson", c.Format)
	}
	return tasks.WriteResults(ctx, a.ledger, c.ID, wanted, format, a.out)
}

// outcomes reads what --outcome lists, each one of those allowed; nil where the
// flag is not given.
func outcomes(list *string, allowed []ledger.Outcome) ([]ledger.Outcome, error) {
	if list == nil {
		return nil, nil
	}
	if *list == "" {
		return nil, usage("--outcome: must not be empty: leave it out")
	}
	wanted, err := tasks.ParseOutcomes(*list, allowed)
	if err != nil {
		return nil, usage("--outcome: %w", err)
	}
	return wanted, nil
}
