package main

import (
	"errors"
	"io"
	"strings"

	"github.com/oakum-build/oakum/dockerfile"
)

// The JSON of BuildKit's requests frontend.lint, frontend.targets and frontend.outline
// (its packages under frontend/subrequests), so that tools that read it from docker can
// read it from oakum.

// describeMethod lists the requests.
const describeMethod = "subrequests.describe"

// request describes a request as BuildKit's request describes it.
type request struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Type        string `json:"type"`
	Description string `json:"description"`
}

// writeMethods writes what --call can ask for.
func writeMethods(w io.Writer, call call) error {
	requests := []request{
		{"frontend.lint", "1.0.0", "rpc", "check the Dockerfile"},
		{"frontend.outline", "1.0.0", "rpc", "show the build arguments and secrets of the target"},
		{"frontend.targets", "1.0.0", "rpc", "list the stages that can be built"},
		{"frontend." + describeMethod, "1.0.0", "rpc", "list these requests"},
	}
	if call.json {
		return writeJSON(w, requests)
	}
	rows := [][]string{{"NAME", "VERSION", "DESCRIPTION"}}
	for _, r := range requests {
		rows = append(rows, []string{strings.TrimPrefix(r.Name, "frontend."), r.Version, r.Description})
	}
	return writeTable(w, rows)
}

type location struct {
	Ranges []lineRange `json:"ranges,omitempty"`
}

type lineRange struct {
	Start position `json:"start"`
	End   position `json:"end"`
}

type position struct {
	Line int `json:"line,omitempty"`
}

func at(line, end int) *location {
	if line == 0 {
		return nil
	}
	return &location{[]lineRange{{position{line}, position{end}}}}
}

type lintWarning struct {
	RuleName    string    `json:"ruleName"`
	Description string    `json:"description,omitempty"`
	URL         string    `json:"url,omitempty"`
	Detail      string    `json:"detail,omitempty"`
	Location    *location `json:"location,omitempty"`
}

type lintSource struct {
	Filename string `json:"filename"`
	Language string `json:"language"`
	Data     []byte `json:"data"`
}

type lintError struct {
	Message  string   `json:"message"`
	Location location `json:"location"`
}

type lintJSON struct {
	Warnings   []lintWarning `json:"warnings"`
	Sources    []lintSource  `json:"sources"`
	BuildError *lintError    `json:"buildError,omitempty"`
}

func lintResult(report dockerfile.Report, fault error) lintJSON {
	out := lintJSON{Warnings: []lintWarning{}, Sources: []lintSource{{report.File, "Dockerfile", report.Text}}}
	for _, f := range report.Findings {
		out.Warnings = append(out.Warnings, lintWarning{f.Rule, f.Description, f.URL, f.Detail, at(f.Line, f.EndLine)})
	}
	if fault != nil {
		out.BuildError = &lintError{Message: fault.Error()}
		var located *dockerfile.Error
		if errors.As(fault, &located) && located.Line > 0 {
			out.BuildError.Message = located.Err.Error()
			out.BuildError.Location = *at(located.Line, located.EndLine)
		}
	}
	return out
}

type target struct {
	Name        string    `json:"name,omitempty"`
	Default     bool      `json:"default,omitempty"`
	Description string    `json:"description,omitempty"`
	Base        string    `json:"base,omitempty"`
	Platform    string    `json:"platform,omitempty"`
	Location    *location `json:"location,omitempty"`
}

type targetsJSON struct {
	Targets []target `json:"targets"`
	Sources [][]byte `json:"sources"`
}

func targetsResult(report dockerfile.Report) targetsJSON {
	out := targetsJSON{Sources: [][]byte{report.Text}}
	for _, t := range report.Targets {
		out.Targets = append(out.Targets, target{t.Name, t.Default, t.Description, t.Base, t.Platform, at(t.Line, t.EndLine)})
	}
	return out
}

type outlineArg struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Value       string    `json:"value,omitempty"`
	Location    *location `json:"location,omitempty"`
}

type outlineMount struct {
	Name     string    `json:"name"`
	Required bool      `json:"required,omitempty"`
	Location *location `json:"location,omitempty"`
}

type outlineCache struct {
	ID       string    `json:"ID"`
	Location *location `json:"location,omitempty"`
}

type outlineJSON struct {
	Name        string         `json:"name,omitempty"`
	Description string         `json:"description,omitempty"`
	Args        []outlineArg   `json:"args,omitempty"`
	Secrets     []outlineMount `json:"secrets,omitempty"`
	SSH         []outlineMount `json:"ssh,omitempty"`
	Cache       []outlineCache `json:"cache,omitempty"`
	Sources     [][]byte       `json:"sources,omitempty"`
}

func outlineResult(report dockerfile.Report) outlineJSON {
	o := report.Outline
	out := outlineJSON{Name: o.Name, Description: o.Description, Sources: [][]byte{report.Text}}
	for _, a := range o.Args {
		out.Args = append(out.Args, outlineArg{a.Name, a.Description, a.Value, at(a.Line, a.EndLine)})
	}
	mounts := func(list []dockerfile.Mount) (out []outlineMount) {
		for _, m := range list {
			out = append(out, outlineMount{m.Name, m.Required, at(m.Line, m.EndLine)})
		}
		return out
	}
	out.Secrets, out.SSH = mounts(o.Secrets), mounts(o.SSH)
	for _, m := range o.Caches {
		out.Cache = append(out.Cache, outlineCache{m.Name, at(m.Line, m.EndLine)})
	}
	return out
}
