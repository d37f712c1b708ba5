package lint

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A picture is a Mermaid flowchart of packages and their imports.
type picture struct {
	line  int                 // of docs/architecture.md, where it begins
	nodes map[string][]string // the folders of each, as its label has them: "a<br>b", "a/…" for all below a
	edges map[[2]string]bool
}

var (
	nodeText = regexp.MustCompile(`(\w+)\["([^"]+)"\]`)
	edgeText = regexp.MustCompile(`^(\w+(?: & \w+)*) --> (\w+(?: & \w+)*)$`)
)

// parsePictures reads the Mermaid blocks of a page. A line of one is a node, an edge between
// one or more of them, or the frame of a group.
func parsePictures(text string) (pictures []picture, faults []string) {
	var p *picture
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		switch {
		case line == "```mermaid":
			p = &picture{line: number, nodes: map[string][]string{}, edges: map[[2]string]bool{}}
		case p == nil:
		case line == "```":
			pictures, p = append(pictures, *p), nil
		case nodeText.FindString(line) == line:
			found := nodeText.FindStringSubmatch(line)
			p.nodes[found[1]] = strings.Split(found[2], "<br>")
		case edgeText.MatchString(line):
			found := edgeText.FindStringSubmatch(line)
			for _, from := range strings.Split(found[1], " & ") {
				for _, to := range strings.Split(found[2], " & ") {
					if p.edges[[2]string{from, to}] {
						faults = append(faults, fmt.Sprintf("line %d: the edge from %s to %s is there twice", number, from, to))
					}
					p.edges[[2]string{from, to}] = true
				}
			}
		case line != "" && line != "end" && !strings.HasPrefix(line, "subgraph ") && !strings.HasPrefix(line, "flowchart "):
			faults = append(faults, fmt.Sprintf("line %d: %q is neither a node nor an edge", number, line))
		}
	}
	return pictures, faults
}

// node is the one that a folder is in, or "".
func (p picture) node(folder string) string {
	best, longest := "", -1
	for id, folders := range p.nodes {
		for _, f := range folders {
			all, group := strings.CutSuffix(f, "/…")
			if f == folder || group && below(folder, all) && folder != all {
				if len(all) > longest { // without the sign for all below, which may be as long as a name
					best, longest = id, len(all)
				}
			}
		}
	}
	return best
}

// imports are those between the packages of this module, which programs are part of but
// neither examples nor hack.
func imports(files []sourceFile) map[string]map[string]bool {
	graph := map[string]map[string]bool{}
	for _, f := range files {
		if f.test || below(f.folder, "hack", "examples") {
			continue
		}
		if graph[f.folder] == nil {
			graph[f.folder] = map[string]bool{}
		}
		for _, imported := range f.imports() {
			if own, ok := strings.CutPrefix(imported, module+"/"); ok {
				graph[f.folder][own] = true
			}
		}
	}
	return graph
}

// pictureFaults compares pictures with the imports: each must have just the edges that
// there are between its nodes, and each import must be in one of them.
func pictureFaults(pictures []picture, graph map[string]map[string]bool) (faults []string) {
	shown := map[string]bool{}
	for _, p := range pictures {
		actual := map[[2]string]string{}
		for from := range graph {
			a := p.node(from)
			shown[from] = shown[from] || a != ""
			for to := range graph[from] {
				b := p.node(to)
				if a == "" || b == "" {
					continue
				}
				shown[from+" "+to] = true
				if a != b {
					actual[[2]string{a, b}] = fmt.Sprintf("%s imports %s", from, to)
				}
			}
		}
		for edge, why := range actual {
			if !p.edges[edge] {
				faults = append(faults, fmt.Sprintf("the picture of line %d lacks the edge %s --> %s: %s", p.line, edge[0], edge[1], why))
			}
		}
		for edge := range p.edges {
			if actual[edge] == "" {
				faults = append(faults, fmt.Sprintf("the picture of line %d has the edge %s --> %s, which is no import", p.line, edge[0], edge[1]))
			}
		}
		faults = append(faults, p.emptyNodes(graph)...)
	}
	for from := range graph {
		if !shown[from] {
			faults = append(faults, from+" is in no picture")
			continue
		}
		for to := range graph[from] {
			if !shown[from+" "+to] {
				faults = append(faults, fmt.Sprintf("no picture shows that %s imports %s", from, to))
			}
		}
	}
	slices.Sort(faults)
	return faults
}

// emptyNodes lists what a picture's nodes name that is no package.
func (p picture) emptyNodes(graph map[string]map[string]bool) (faults []string) {
	for _, folders := range p.nodes {
		for _, f := range folders {
			all, group := strings.CutSuffix(f, "/…")
			if !slices.ContainsFunc(slices.Collect(maps.Keys(graph)), func(folder string) bool {
				return folder == f || group && below(folder, all) && folder != all
			}) {
				faults = append(faults, fmt.Sprintf("the picture of line %d has %s, which is no package", p.line, path.Clean(f)))
			}
		}
	}
	return faults
}
