"""The one place that runs git: mirror, three-way rehearsal, publication, snapshots, scratch trees."""
