package plan

import (
	"errors"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// shellOr is what runs shell forms unless SHELL says otherwise (Dockerfile
// reference, SHELL).
func shellOr(configured []string) []string {
	if len(configured) > 0 {
		return configured
	}
	return []string{"/bin/sh", "-c"}
}

// Args gives the arguments of a CMD or ENTRYPOINT: those of the exec form, or the
// shell with the line of the shell form.
func Args(line instructions.ShellDependantCmdLine, shell []string) []string {
	if !line.PrependShell {
		return line.CmdLine
	}
	args := append([]string{}, shellOr(shell)...)
	return append(args, strings.Join(line.CmdLine, " "))
}

// scripts is where the command of a RUN finds its files, as in BuildKit.
const scripts = "/dev/pipes/"

// RunArgs gives the arguments of a RUN, whose here-documents become part of what the
// shell reads. One that begins with #! is an executable file instead, which the shell
// starts; files gives its text by its name.
func RunArgs(c *instructions.RunCommand, shell []string) (args []string, files map[string]string, err error) {
	line := c.ShellDependantCmdLine
	if !line.PrependShell && (len(line.CmdLine) == 0 || line.CmdLine[0] == "") {
		return nil, nil, errors.New("RUN without a command")
	}
	if len(line.Files) == 0 {
		return Args(line, shell), nil, nil
	}
	script, alone := heredocScript(line)
	if alone && strings.HasPrefix(script, "#!") {
		name := line.Files[0].Name
		if !plainName().MatchString(name) {
			name = "script"
		}
		script, files = scripts+name, map[string]string{name: script}
	}
	line.CmdLine = []string{script}
	return Args(line, shell), files, nil
}

// plainName matches the names of files that a shell reads as one word.
var plainName = lazy(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*$`)

// heredocScript is what the shell gets for a RUN with here-documents: the document
// when the line is nothing else, and then alone is true; otherwise the line and the
// documents, for the shell to read as its own.
func heredocScript(line instructions.ShellDependantCmdLine) (script string, alone bool) {
	text := strings.Join(line.CmdLine, " ")
	if isHeredoc(text) && parser.MustParseHeredoc(text) != nil {
		script := line.Files[0].Data
		if line.Files[0].Chomp {
			script = parser.ChompHeredocContent(script)
		}
		return script, true
	}
	var b strings.Builder
	if isHeredoc(text) {
		text = Bytes(text)
	}
	b.WriteString(text)
	for _, f := range line.Files {
		b.WriteString("\n" + f.Data + Bytes(f.Name))
	}
	return b.String(), false
}
