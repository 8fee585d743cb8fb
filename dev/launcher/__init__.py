"""The launcher behind `make up`: runs the processes of docker-compose.yml on this machine."""
