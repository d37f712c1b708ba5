package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func helpCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "show this, or a command's usage",
		ArgsUsage: "[COMMAND]",
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				writeAppHelp(std.out, c.App)
				return nil
			}
			cmd, rest, err := findCommand(c.App, c.Args().Slice())
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return wantArgs(c, 0, 1)
			}
			writeCommandHelp(std.out, cmd)
			return nil
		},
	}
}

const helpWidth = 80

func writeAppHelp(w io.Writer, app *cli.App) {
	fmt.Fprintf(w, "%s: %s\n\nUsage: %s [STORE OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n", app.Name, app.Usage, app.Name)
	var rows [][2]string
	for _, cmd := range app.Commands {
		rows = append(rows, [2]string{strings.Join(shortNames(cmd), ", "), cmd.Usage})
	}
	writeColumns(w, rows)
	fmt.Fprint(w, "\nStore options, before the command or after it:\n")
	writeColumns(w, flagRows(app.Flags))
	fmt.Fprint(w, "\nExit codes:\n")
	writeColumns(w, exitCodes())
	fmt.Fprintf(w, "\n%s COMMAND --help shows a command's options.\n", app.Name)
}

// shortNames are the name of a command and those others that are one short word.
func shortNames(cmd *cli.Command) []string {
	names := []string{cmd.Name}
	for _, alias := range cmd.Aliases {
		if !strings.ContainsAny(alias, " -") {
			names = append(names, alias)
		}
	}
	return names
}

func writeCommandHelp(w io.Writer, cmd *cli.Command) {
	fmt.Fprintf(w, "oakum %s: %s\n\nUsage: %s\n", cmd.Name, cmd.Usage, usageLine(cmd))
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(w, "Also: oakum %s\n", strings.Join(cmd.Aliases, ", oakum "))
	}
	if cmd.Description != "" {
		fmt.Fprintf(w, "\n%s\n", wrap(cmd.Description, 0))
	}
	if len(cmd.Flags) > 0 {
		fmt.Fprint(w, "\nOptions:\n")
		writeColumns(w, flagRows(cmd.Flags))
	}
}

func usageLine(cmd *cli.Command) string {
	line := "oakum " + cmd.Name
	if len(cmd.Flags) > 0 {
		line += " [OPTIONS]"
	}
	return strings.TrimSpace(line + " " + cmd.ArgsUsage)
}

// flagRows is the flags as they are typed, and what they do.
func flagRows(flags []cli.Flag) [][2]string {
	var rows [][2]string
	for _, f := range flags {
		doc := f.(cli.DocGenerationFlag)
		value, usage := placeholder(doc.GetUsage())
		var names []string
		for _, name := range f.Names() {
			if len(name) == 1 {
				names = append([]string{"-" + name}, names...)
			} else {
				names = append(names, "--"+name)
			}
		}
		text := strings.Join(names, ", ")
		switch {
		case value != "" && valueOptional(f):
			text += "[=" + value + "]"
		case value != "":
			text += " " + value
		}
		if env := doc.GetEnvVars(); len(env) > 0 {
			usage += "; also by the variable " + env[0]
		}
		if s, ok := f.(*stringFlag); ok && s.Value != "" {
			usage += " (default: " + s.Value + ")"
		}
		rows = append(rows, [2]string{text, usage})
	}
	return rows
}

// placeholder finds the name of a flag's value, which stands in backquotes in its
// usage. At the beginning it is no part of the sentence and is cut off.
func placeholder(usage string) (value, rest string) {
	before, after, _ := strings.Cut(usage, "`")
	value, after, ok := strings.Cut(after, "`")
	switch {
	case !ok:
		return "", usage
	case before == "":
		return value, strings.TrimSpace(after)
	}
	return value, before + value + after
}

// writeColumns writes a table of two columns; the second is wrapped. Where the
// first is long the second begins on the next line.
func writeColumns(w io.Writer, rows [][2]string) {
	const longest = 24
	width := 0
	for _, row := range rows {
		width = max(width, min(len(row[0]), longest))
	}
	for _, row := range rows {
		left := fmt.Sprintf("  %-*s  ", width, row[0])
		if len(row[0]) > width {
			left = "  " + row[0] + "\n" + strings.Repeat(" ", width+4)
		}
		fmt.Fprintf(w, "%s%s\n", left, wrap(row[1], width+4))
	}
}

// wrap breaks text into lines of at most helpWidth, indented by indent except for
// the first.
func wrap(text string, indent int) string {
	var out strings.Builder
	column := indent
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > helpWidth:
			out.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	return out.String()
}
