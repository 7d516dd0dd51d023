module ridley/pause

go 1.26.0
