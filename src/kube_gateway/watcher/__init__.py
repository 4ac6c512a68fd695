"""The watcher of a cluster: sees pods, decides with the function that local mode uses too, and acts through the API."""
